//! Folders to lists of files.

use std::{fs, os::unix::fs::symlink};

use syft_endpoints::extract::{Format, MAX_FILE, files};

#[test]
fn the_extension_says_the_format_or_else_the_content_type() {
    for (name, media_type, format) in [
        ("a/b/Notes.MD", None, Some(Format::Text)),
        ("paper.pdf", Some("text/html"), Some(Format::Pdf)),
        ("/wiki/Law", Some("text/html; charset=utf-8"), Some(Format::Html)),
        ("/page.php", Some("Text/HTML"), Some(Format::Html)),
        ("/export", Some("application/json"), Some(Format::Json)),
        ("report.DOCX", None, Some(Format::Docx)),
        ("archive.tar", None, None),
        ("/", Some("image/png"), None),
        (".pdf", None, None),
    ] {
        assert_eq!(Format::of(name, media_type), format, "{name} {media_type:?}");
    }
}

#[test]
fn links_are_passed_over_and_do_not_lead_out() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    for folder in [root.join("sub"), outside.clone()] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(outside.join("secret.md"), "secret").unwrap();
    fs::write(root.join("sub/a.md"), "a").unwrap();
    symlink(outside.join("secret.md"), root.join("link.md")).unwrap();
    symlink(&outside, root.join("linked")).unwrap();
    let found = files(&[&root]).unwrap();
    assert_eq!(found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["sub/a.md"]);
    assert_eq!(found[0].read().unwrap(), b"a");

    // Put in its place after the folder was listed: the file, or the folder above it.
    fs::remove_file(root.join("sub/a.md")).unwrap();
    symlink(outside.join("secret.md"), root.join("sub/a.md")).unwrap();
    assert_eq!(found[0].read().unwrap_err().to_string(), "leads out of its folder");
    fs::remove_file(root.join("sub/a.md")).unwrap();
    fs::remove_dir(root.join("sub")).unwrap();
    fs::write(outside.join("a.md"), "secret").unwrap();
    symlink(&outside, root.join("sub")).unwrap();
    assert_eq!(found[0].read().unwrap_err().to_string(), "leads out of its folder");

    // Who names a link means what it points to.
    assert_eq!(files(&[root.join("link.md")]).unwrap()[0].read().unwrap(), b"secret");
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::File::create(&path).unwrap().set_len(MAX_FILE as u64 + 1).unwrap();
    let found = files(&[&path]).unwrap();
    assert_eq!(found[0].read().unwrap_err().to_string(), "larger than 64 MiB");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(found[0].read().unwrap_err().to_string(), "not a file any more");
}
