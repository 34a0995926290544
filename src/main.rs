//! The binary; everything is in the library.
fn main() {
    let path = std::env::args().next_back().unwrap_or_default();
    if let Err(error) =
        tidegate::app::run(std::path::Path::new(&path), tidegate::app::signals::Origin::Process)
    {
        eprintln!("error: {error}");
    }
}
