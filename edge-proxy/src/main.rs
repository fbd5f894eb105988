//! `tollgate-edge`: see `tollgate-edge --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_edge::program::main(std::env::args_os())
}
