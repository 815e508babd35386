//! SECURITY.md names a test for each promise; here is whether there is one.

use std::fs;
use std::path::Path;

#[test]
fn each_promise_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, promises) = text.split_once("## What is promised").unwrap();
    let (promises, _) = promises.split_once("## What is not").unwrap();
    for promise in promises.lines().filter(|line| line.starts_with("- ")) {
        let named = promise.split('`').skip(1).step_by(2);
        let mut tests = named
            .filter_map(|quoted| quoted.split_once(": "))
            .peekable();
        assert!(tests.peek().is_some(), "no test: {promise}");
        for (file, test) in tests {
            let source = fs::read_to_string(root.join(format!("tests/it/{file}.rs"))).unwrap();
            assert!(source.contains(&format!("fn {test}(")), "{file}: {test}");
        }
    }
}
