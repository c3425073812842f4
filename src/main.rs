//! The binary: parse the command line, run the command, exit with its code. Everything is in the library.

fn main() -> std::process::ExitCode {
    sidegate::cli::main()
}
