use std::fs;

use hoiam_api::Service;

use super::*;
use crate::db::testing::TestDb;

const ONE: &str = "the-first-configured-key";
const TWO: &str = "the-second-configured-key";
const OF_BACKEND: &str = "the-key-of-the-backend";

/// A data folder with a database, as a start finds it.
struct World {
    test: TestDb,
    api_keys: Vec<String>,
}

impl World {
    fn new(api_keys: &[&str]) -> Self {
        Self {
            test: TestDb::new(Service::Tts),
            api_keys: api_keys.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    fn dbs(&self) -> Vec<Db> {
        vec![self.test.db.clone()]
    }

    async fn start_with(&self, backend: Option<BackendKey>) -> Keys {
        let keys = Keys::open(Configured {
            api_keys: self.api_keys.clone(),
            backend,
            data_dir: self.test.folder.path().to_owned(),
        });
        let keys = keys.unwrap();
        keys.settle(&self.dbs()).await.unwrap();
        keys
    }

    async fn start(&self) -> Keys {
        self.start_with(None).await
    }

    fn add(&self, name: &str, scopes: &str) -> String {
        let scopes = scopes.parse().unwrap();
        file::add(self.test.folder.path(), name, scopes, 0)
            .unwrap()
            .0
    }

    fn revoke(&self, name: &str) {
        file::revoke(self.test.folder.path(), name).unwrap();
    }

    /// As the service does each second.
    async fn reread(&self, keys: &Keys) {
        let found = look(&mut Lookout::default(), self.test.folder.path());
        keys.heard(found, &self.dbs()).await;
    }

    fn file(&self) -> PathBuf {
        file::path(self.test.folder.path())
    }
}

fn client(keys: &Keys, key: &str) -> Option<String> {
    keys.caller(key).map(|caller| caller.client)
}

fn by_hash(key: &str) -> String {
    name_by_hash(&KeyHash::of(key).short())
}

#[tokio::test]
async fn without_keys_none_is_asked_for_and_nobody_is_known() {
    let world = World::new(&[]);
    let here = BackendKey::Here(OF_BACKEND.into());
    let keys = world.start_with(Some(here)).await;
    assert!(!keys.are_asked_for());
    assert_eq!(keys.clients()[..], [""]);
    assert_eq!(client(&keys, ONE), None);
}

#[tokio::test]
async fn configured_keys_may_do_all_under_names_that_do_not_move() {
    let mut world = World::new(&[ONE, TWO]);
    let keys = world.start().await;
    assert_eq!(client(&keys, ONE).as_deref(), Some(""));
    assert_eq!(client(&keys, TWO), Some(by_hash(TWO)));
    assert_eq!(keys.clients()[..], [String::new(), by_hash(TWO)]);
    let caller = keys.caller(TWO).unwrap();
    assert_eq!((caller.scopes, caller.unnamed), (Scopes::all(), None));
    // The first 6 bytes of its SHA-256, as idempotency keys were always scoped.
    assert_eq!(caller.idempotency, "33aee3548c0d");
    assert_eq!(by_hash(TWO), "key:33aee3548c0d");
    world.api_keys.reverse();
    let keys = world.start().await;
    assert_eq!(client(&keys, ONE).as_deref(), Some(""));
    assert_eq!(client(&keys, TWO), Some(by_hash(TWO)));
    world.api_keys.pop();
    let keys = world.start().await;
    assert_eq!(client(&keys, ONE), None);
    assert_eq!(client(&keys, TWO), Some(by_hash(TWO)));
}

#[tokio::test]
async fn the_first_of_the_file_is_the_first_where_no_key_is_configured() {
    let mut world = World::new(&[]);
    let (a, b) = (world.add("a", "submit"), world.add("b", "read"));
    let keys = world.start().await;
    assert!(keys.are_asked_for());
    assert_eq!(client(&keys, &a).as_deref(), Some(""));
    assert_eq!(client(&keys, &b).as_deref(), Some("b"));
    assert_eq!(keys.clients()[..], [""], "b may not submit");
    world.api_keys.push(ONE.into());
    world.revoke("a");
    let again = world.add("a", "submit");
    let keys = world.start().await;
    assert_eq!(client(&keys, &a), None);
    assert_eq!(client(&keys, &again).as_deref(), Some(""));
    assert_eq!(client(&keys, ONE), Some(by_hash(ONE)));
}

#[tokio::test]
async fn the_first_key_that_comes_while_it_runs_stays_the_first() {
    let world = World::new(&[]);
    let keys = world.start().await;
    let a = world.add("a", "admin");
    let b = world.add("b", "admin");
    world.reread(&keys).await;
    assert!(keys.are_asked_for());
    assert_eq!(client(&keys, &a).as_deref(), Some(""));
    world.revoke("a");
    world.reread(&keys).await;
    let restarted = world.start().await;
    for keys in [keys, restarted] {
        assert_eq!(client(&keys, &a), None);
        assert_eq!(client(&keys, &b).as_deref(), Some("b"));
    }
    world.revoke("b");
    assert!(world.start().await.are_asked_for(), "the last is revoked");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_changes_nothing_and_is_told() {
    let world = World::new(&[]);
    let a = world.add("a", "submit");
    let keys = world.start().await;
    let good = fs::read(world.file()).unwrap();
    let spoil: [&dyn Fn(); 3] = [
        &|| fs::write(world.file(), "{").unwrap(),
        &|| fs::remove_file(world.file()).unwrap(),
        &|| fs::create_dir(world.file()).unwrap(),
    ];
    for spoil in spoil {
        spoil();
        world.reread(&keys).await;
        assert!(keys.are_asked_for() && client(&keys, &a).is_some());
        let problem = keys.problem().unwrap();
        assert!(problem.contains("keys.json"), "{problem}");
    }
    fs::remove_dir(world.file()).unwrap();
    fs::write(world.file(), good).unwrap();
    world.reread(&keys).await;
    assert_eq!(keys.problem(), None);
    fs::write(world.file(), "{").unwrap();
    let refused = Keys::open(Configured {
        data_dir: world.test.folder.path().to_owned(),
        ..Configured::default()
    });
    let told = refused.err().unwrap().to_string();
    assert!(
        told.contains("keys.json") && told.contains("put a copy back"),
        "{told}"
    );
}

#[tokio::test]
async fn a_file_that_comes_broken_asks_for_keys_all_the_same() {
    let world = World::new(&[]);
    let keys = world.start().await;
    fs::write(world.file(), "{").unwrap();
    world.reread(&keys).await;
    assert!(keys.are_asked_for() && keys.problem().is_some());
}

#[tokio::test]
async fn a_look_that_fails_asks_for_no_keys_where_there_was_never_a_file() {
    let world = World::new(&[]);
    let keys = world.start().await;
    // As a disk or a folder that cannot be looked at.
    let fail = || std::os::unix::fs::symlink("keys.json", world.file()).unwrap();
    fail();
    world.reread(&keys).await;
    assert!(!keys.are_asked_for() && keys.problem().is_some());
    fs::remove_file(world.file()).unwrap();
    world.reread(&keys).await;
    assert!(!keys.are_asked_for() && keys.problem().is_none());

    let a = world.add("a", "submit");
    world.reread(&keys).await;
    fs::remove_file(world.file()).unwrap();
    fail();
    world.reread(&keys).await;
    assert!(keys.are_asked_for() && keys.problem().is_some());
    assert_eq!(client(&keys, &a).as_deref(), Some(""));
}

#[tokio::test]
async fn where_the_first_cannot_be_kept_no_key_of_the_file_is_known() {
    let world = World::new(&[]);
    let keys = world
        .start_with(Some(BackendKey::Here(OF_BACKEND.into())))
        .await;
    let a = world.add("a", "admin");
    world.test.db.close().await;
    world.reread(&keys).await;
    assert!(keys.are_asked_for() && keys.problem().is_some());
    assert_eq!(client(&keys, &a), None);
    assert!(keys.caller(OF_BACKEND).is_some(), "its tasks must not fail");
}

#[tokio::test]
async fn the_backend_of_this_process_speaks_for_the_clients_of_this_process() {
    let mut world = World::new(&[ONE, TWO]);
    let b = world.add("b", "submit");
    for key in [OF_BACKEND, TWO] {
        let keys = world.start_with(Some(BackendKey::Here(key.into()))).await;
        let caller = keys.caller(key).unwrap();
        assert!(caller.scopes.allow(Scope::Admin));
        let unnamed = caller.unnamed.unwrap();
        for (header, client) in [
            ("-", ""),
            (&by_hash(ONE), ""),
            (&by_hash(TWO), &by_hash(TWO)),
            ("b", "b"),
        ] {
            assert_eq!(
                keys.named(header, &unnamed).as_deref(),
                Some(client),
                "{header}"
            );
        }
        assert_eq!(keys.named("no name", &unnamed), None);
        for other in [ONE, &b] {
            assert_eq!(keys.caller(other).unwrap().unnamed, None);
        }
        assert_eq!(
            keys.clients()[..],
            [String::new(), by_hash(TWO), "b".into()]
        );
    }
    world.api_keys.clear();
    fs::remove_file(world.file()).unwrap();
    let keys = world
        .start_with(Some(BackendKey::Here(OF_BACKEND.into())))
        .await;
    assert!(!keys.are_asked_for(), "it alone asks for no keys");
}

#[tokio::test]
async fn the_first_client_of_a_backend_elsewhere_is_none_of_ours() {
    let world = World::new(&[ONE]);
    let keys = world.start().await;
    assert_eq!(client(&keys, ONE).as_deref(), Some(""));
    let elsewhere = || Some(BackendKey::Elsewhere(OF_BACKEND.into()));
    let keys = world.start_with(elsewhere()).await;
    let unnamed = keys.caller(OF_BACKEND).unwrap().unnamed.unwrap();
    assert_eq!(keys.named("-", &unnamed), Some(by_hash(OF_BACKEND)));

    let fresh = World::new(&[ONE]);
    let keys = fresh.start_with(elsewhere()).await;
    assert_eq!(client(&keys, OF_BACKEND).as_deref(), Some(""));
    assert_eq!(client(&keys, ONE), Some(by_hash(ONE)));

    let alone = World::new(&[]);
    let keys = alone.start_with(elsewhere()).await;
    assert!(keys.are_asked_for(), "it is a key like others");
    let same = World::new(&[ONE, OF_BACKEND]);
    let keys = same.start_with(elsewhere()).await;
    assert_eq!(keys.clients()[..], [String::new(), by_hash(ONE)]);
}
