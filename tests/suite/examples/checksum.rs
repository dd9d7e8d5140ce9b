//! `examples-c/checksum.c`, on a tree of the test's own.

use std::fs;
use std::os::unix::fs::symlink;

use libtest_mimic::Trial;

use super::process::Program;
use crate::library::TempDir;

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("examples::checksum_hashes_all_files_of_a_tree", || {
        hashes_all_files();
        Ok(())
    })]
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

fn hashes_all_files() {
    let program = Program::compile("checksum", &[]);
    let tree = TempDir::new().expect("a directory");
    let root = tree.path().to_str().expect("a path in UTF-8");
    let mut expected = Vec::new();
    for number in 0..300_usize {
        let folder = tree.path().join(format!("{}/{}", number % 7, number % 3));
        fs::create_dir_all(&folder).expect("make a directory");
        let data: Vec<u8> = (0..number * 1000).map(|place| (place * number) as u8).collect();
        let path = folder.join(format!("file {number}"));
        fs::write(&path, &data).expect("write a file");
        expected.push((path.to_str().expect("a path in UTF-8").to_owned(), hash(&data)));
    }
    expected.sort();
    let lines: Vec<String> =
        expected.iter().map(|(path, hash)| format!("{hash:016x}  {path}")).collect();
    // Links are passed over, wherever they lead.
    symlink("nowhere", tree.path().join("dangling")).expect("make a link");
    symlink("..", tree.path().join("0/up")).expect("make a link");
    assert_eq!(program.start(&[root]).succeed(), lines);
    // What cannot be read is told.
    let missing = format!("{root}/missing");
    let mut running = program.start(&[&missing]);
    assert_eq!(running.wait().code(), Some(1), "{}", running.output());
    assert_eq!(running.stderr(), [format!("checksum: {missing}: No such file or directory")]);
}
