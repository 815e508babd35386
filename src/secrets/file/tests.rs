use super::*;

const NOW: Millis = 1_700_000_000_000;
const DAY: Duration = Duration::from_hours(24);
const DAY_MS: Millis = 24 * 3_600_000;

#[test]
fn the_first_start_makes_a_secret_that_only_its_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("var/data");
    let made = ensure(&data_dir).unwrap();
    assert!(
        ensure(&data_dir).unwrap() == made,
        "the second start finds it"
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&secret_path(&data_dir)), 0o600);
    assert_eq!(mode(&data_dir), 0o700);
    assert_eq!(
        std::fs::read_dir(&data_dir).unwrap().count(),
        1,
        "nothing temporary is left"
    );
}

#[test]
fn processes_that_start_together_get_the_same_secret() {
    let folder = tempfile::tempdir().unwrap();
    let together = std::sync::Barrier::new(8);
    let secrets: Vec<Filed> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    ensure(folder.path()).unwrap()
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    ensure(folder.path()).unwrap();
    let path = secret_path(folder.path());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let told = ensure(folder.path()).unwrap_err().to_string();
    assert!(
        told.contains(&format!("chmod 600 {}", path.display())),
        "{told}"
    );
    assert!(told.contains("644"), "{told}");
}

#[test]
fn a_file_that_is_no_secret_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = secret_path(folder.path());
    std::fs::write(&path, "my notes").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(matches!(
        ensure(folder.path()),
        Err(SecretFileError::NotASecret { .. })
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
}

/// What is in force, read anew.
fn in_force(data_dir: &Path, wall: Millis) -> Vec<Secret> {
    read(data_dir).unwrap().unwrap().in_force(wall)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_old_secret_is_in_force_beside_the_new_one_until_the_overlap_ends() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let old = ensure(data).unwrap().current;
    let until = rotate(data, DAY, NOW, || {}).unwrap();
    assert_eq!(until, Some(NOW + DAY_MS));
    let new = read(data).unwrap().unwrap().current;
    assert_ne!(new, old);
    assert_eq!(in_force(data, NOW), [new.clone(), old.clone()]);
    assert_eq!(in_force(data, NOW + DAY_MS - 1), [new.clone(), old]);
    assert_eq!(in_force(data, NOW + DAY_MS), std::slice::from_ref(&new));
    let line = fs::read_to_string(secret_path(data)).unwrap();
    assert_eq!(line, format!("{}\n", new.reveal()));
    assert_eq!(names(data), ["callback.secret", "callback.secret.rotation"]);
    for name in names(data) {
        let mode = fs::metadata(data.join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn an_overlap_that_began_by_a_wrong_clock_ends_when_the_clock_is_right() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    ensure(data).unwrap();
    rotate(data, DAY, NOW + 3_650 * DAY_MS, || {}).unwrap();
    let new = read(data).unwrap().unwrap().current;
    assert_eq!(in_force(data, NOW), std::slice::from_ref(&new));
    rotate(data, DAY, NOW, || {}).unwrap();
    let both = in_force(data, NOW);
    assert_eq!((both.len(), &both[1]), (2, &new));
    assert_eq!(in_force(data, NOW - SET_BACK_MS), both, "it was set back");
}

#[test]
fn both_are_in_force_before_the_new_one_can_be_read_by_others() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let old = ensure(data).unwrap().current;
    let mut announced = None;
    rotate(data, DAY, NOW, || announced = read(data).unwrap()).unwrap();
    let (announced, done) = (announced.unwrap(), read(data).unwrap().unwrap());
    assert_eq!(announced.current, old);
    assert_eq!(announced.in_force(NOW), [old.clone(), done.current.clone()]);
    assert_eq!(done.in_force(NOW), [done.current.clone(), old.clone()]);
    assert!(announced.is_cut_off(NOW) && !done.is_cut_off(NOW));
    assert_eq!(announced.overlap_ends(NOW), None);
    assert_eq!(done.overlap_ends(NOW), Some(NOW + DAY_MS));
    // Cut off there, the old one stays.
    assert_eq!(announced.in_force(NOW + DAY_MS), [old]);
}

#[test]
fn a_rotation_that_was_cut_off_is_begun_anew_and_keeps_the_secret_that_receivers_have() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let old = ensure(data).unwrap().current;
    let cut_off = std::panic::AssertUnwindSafe(|| rotate(data, DAY, NOW, || panic!("cut off")));
    std::panic::catch_unwind(cut_off).unwrap_err();
    fs::write(
        rotation_path(&secret_path(data)).with_extension("rotation.tmp"),
        "{",
    )
    .unwrap();
    assert_eq!(in_force(data, NOW)[0], old);
    rotate(data, DAY, NOW + 1, || {
        assert_eq!(in_force(data, NOW)[0], old)
    })
    .unwrap();
    let new = read(data).unwrap().unwrap().current;
    assert_eq!(in_force(data, NOW + 1), [new, old]);
    assert_eq!(names(data).len(), 2, "nothing temporary is left");
}

#[test]
fn without_an_overlap_the_old_secrets_end_at_once() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    ensure(data).unwrap();
    rotate(data, DAY, NOW, || {}).unwrap();
    assert_eq!(in_force(data, NOW).len(), 2);
    let rotation = rotation_path(&secret_path(data));
    let of_before = fs::read(&rotation).unwrap();
    assert_eq!(
        rotate(data, Duration::ZERO, NOW, || panic!("too late")).unwrap(),
        None
    );
    let new = read(data).unwrap().unwrap().current;
    assert_eq!(in_force(data, NOW), std::slice::from_ref(&new));
    assert_eq!(names(data), ["callback.secret"]);
    // Cut off before the file of the rotation before was removed.
    fs::write(&rotation, of_before).unwrap();
    fs::set_permissions(&rotation, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(in_force(data, NOW), [new]);
}

#[test]
fn a_third_secret_waits_for_the_end_of_the_overlap() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    ensure(data).unwrap();
    rotate(data, DAY, NOW, || {}).unwrap();
    let both = in_force(data, NOW);
    let refused = rotate(data, DAY, NOW + DAY_MS - 1, || {}).unwrap_err();
    assert!(matches!(&refused, SecretFileError::UnderWay { until, .. } if *until == NOW + DAY_MS));
    let told = refused.to_string();
    assert!(
        told.contains("2023-11-15T22:13:20.000Z") && told.contains("--overlap 0"),
        "{told}"
    );
    assert_eq!(in_force(data, NOW), both);
    rotate(data, DAY, NOW + DAY_MS, || {}).unwrap();
    let next = in_force(data, NOW + DAY_MS);
    assert_eq!((next.len(), &next[1]), (2, &both[0]));
}

#[test]
fn of_two_rotations_at_once_one_is_made_and_the_other_refused() {
    for _ in 0..20 {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let old = ensure(data).unwrap().current;
        let together = std::sync::Barrier::new(2);
        let rotate = || {
            together.wait();
            rotate(data, DAY, NOW, || {}).is_ok()
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(rotate);
            (rotate(), other.join().unwrap())
        });
        assert_ne!(one, other);
        let in_force = in_force(data, NOW);
        assert_eq!((in_force.len(), &in_force[1]), (2, &old));
    }
}

/// A service that starts, or looks, reads two files that are written meanwhile.
#[test]
fn whoever_reads_during_a_rotation_finds_what_receivers_have() {
    for _ in 0..50 {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let old = ensure(data).unwrap().current;
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(in_force(data, NOW).contains(&old));
                }
            });
            rotate(data, DAY, NOW, || {}).unwrap();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}

#[test]
fn there_is_nothing_to_rotate_before_the_first_start() {
    let data = tempfile::tempdir().unwrap();
    for folder in [data.path(), &data.path().join("data")] {
        let refused = rotate(folder, DAY, NOW, || {});
        assert!(matches!(refused, Err(SecretFileError::Absent { .. })));
    }
    assert!(names(data.path()).is_empty());
}

#[test]
fn a_faulty_or_exposed_file_of_a_rotation_is_refused_and_nothing_in_it_told() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    ensure(data).unwrap();
    rotate(data, DAY, NOW, || {}).unwrap();
    let path = rotation_path(&secret_path(data));
    let good = fs::read_to_string(&path).unwrap();
    let secret = in_force(data, NOW)[1].reveal();
    for faulty in [
        String::new(),
        good.replace("until", "end"),
        good.replace("since", "from_when"),
        good.replace("2023", "of old"),
        good.replace("whsec_", "whpk_"),
        good.replace('}', ", \"more\": 1}"),
    ] {
        fs::write(&path, &faulty).unwrap();
        let refused = [
            read(data).unwrap_err(),
            rotate(data, DAY, NOW, || {}).unwrap_err(),
        ];
        for refused in refused {
            assert!(
                matches!(refused, SecretFileError::NoRotation { .. }),
                "{faulty}"
            );
            assert!(!refused.to_string().contains(&secret[6..]));
        }
    }
    fs::write(&path, good).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let told = ensure(data).unwrap_err().to_string();
    assert!(
        told.contains(&format!("chmod 600 {}", path.display())),
        "{told}"
    );
}
