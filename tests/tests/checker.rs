//! The checker that the stories of exactness end with: it finds what is planted.

use std::process::Command;

use tollgate_tests::workspace;

#[test]
fn the_independent_checker_finds_what_is_planted() {
    let tests = workspace::root().join("tests/checker/test_check.py");
    // Leaves nothing beside the sources.
    let ran = Command::new("python3").arg("-B").arg(&tests).output().expect("Python 3 is installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
