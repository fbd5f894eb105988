use std::os::unix::fs::PermissionsExt;

use tollgate_engine::{Engine, OpenError};

use crate::table::{create, get, put};

#[tokio::test]
async fn a_file_keeps_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/tollgate.db");
    let engine = Engine::open(&path).unwrap();
    let client = engine.client();
    create(&client).await;
    put(&client, "a", 5).await;
    drop((client, engine));
    let client = Engine::open(&path).unwrap().client();
    assert_eq!(get(&client, "a").await, Some(5));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_path_that_cannot_be_used_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"not a database").unwrap();

    let refused = |path: &std::path::Path| Engine::open(path).map(|_| ()).unwrap_err();
    let error = refused(&file.join("tollgate.db"));
    assert!(matches!(&error, OpenError::File { path, .. } if *path == file), "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");

    let error = refused(folder.path());
    assert!(error.to_string().contains("directory"), "{error}");

    let error = refused(&file);
    assert!(matches!(&error, OpenError::Database { path, .. } if *path == file), "{error}");
    assert!(error.to_string().contains("not a SQLite file"), "{error}");
}

#[test]
fn a_damaged_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged.db");
    std::fs::write(&file, [b"SQLite format 3\0".as_slice(), &[0xff; 4096]].concat()).unwrap();
    let error = Engine::open(&file).map(|_| ()).unwrap_err();
    assert!(matches!(&error, OpenError::Database { path, .. } if *path == file), "{error}");
}

#[test]
fn a_name_that_is_not_utf8_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let error = Engine::open(folder.path().join(OsStr::from_bytes(b"\xff.db"))).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}
