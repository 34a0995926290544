//! The binary; everything is in the library.
fn main() {
    tidegate::app::run(std::path::Path::new(&std::env::args().nth(1).unwrap()))
}
