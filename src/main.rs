//! The binary; everything is in the library.

use std::process::ExitCode;

use tidegate::app::RunError;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::cli::main(|path, origin, ready| {
        tidegate::app::run(path, origin, ready).map_err(RunError::into_plain)
    })
}
