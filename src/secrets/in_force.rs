//! The secrets that sign and are believed now: those of the configuration, or those of
//! the data folder, whose files are looked at each second.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use hoiam_api::rfc3339;
use hoiam_api::signature::Secret;
use hoiam_supervision::clock::{Clock, Millis};

use super::file::{self, Filed, SecretFileError};
use crate::locks::{read, write};
use crate::lookout::{self, Lookout};

/// What callbacks and links are signed with. Clones share what is known. Whoever signs
/// or verifies asks at that moment, and so follows a rotation.
#[derive(Clone)]
pub struct CallbackSecrets(Arc<Source>);

enum Source {
    Fixed(Vec<Secret>),
    Folder(Folder),
}

struct Folder {
    data_dir: PathBuf,
    clock: Clock,
    state: RwLock<State>,
}

/// What changes while the service runs.
struct State {
    filed: Filed,
    /// Why `filed` may be older than the files. It has paths in it.
    problem: Option<String>,
}

/// These, for good; the first two sign, all are believed.
impl From<Vec<Secret>> for CallbackSecrets {
    fn from(secrets: Vec<Secret>) -> Self {
        Self(Arc::new(Source::Fixed(secrets)))
    }
}

impl CallbackSecrets {
    /// Those that are configured, or without any the ones of the data folder; made when
    /// there is none yet.
    ///
    /// # Errors
    /// When they cannot be read, or others can read them: the service must not start
    /// with another secret than the one that its receivers have.
    pub fn open(
        configured: &[Secret],
        data_dir: &Path,
        clock: Clock,
    ) -> Result<Self, SecretFileError> {
        if !configured.is_empty() {
            let unused = file::secret_path(data_dir);
            if unused.exists() {
                log::warn!(
                    "callback.secrets is configured, so {} is not used; `hoiam secrets rotate` changes the file alone",
                    unused.display()
                );
            }
            return Ok(configured.to_vec().into());
        }
        let state = State {
            filed: file::ensure(data_dir)?,
            problem: None,
        };
        Ok(Self(Arc::new(Source::Folder(Folder {
            data_dir: data_dir.to_owned(),
            clock,
            state: state.into(),
        }))))
    }

    /// Those in force at this moment. The first two sign, all are believed.
    #[must_use]
    pub fn in_force(&self) -> Vec<Secret> {
        match &*self.0 {
            Source::Fixed(secrets) => secrets.clone(),
            Source::Folder(folder) => folder.look(|state| state.filed.in_force(folder.wall())),
        }
    }

    /// What a person should see to when the secrets in force may not be those of the
    /// files. Anybody may read it.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        const WARNING: &str = "what callback.secret says cannot be taken over; the log says why";
        match &*self.0 {
            Source::Fixed(_) => None,
            Source::Folder(folder) => folder.problem().map(|_| WARNING),
        }
    }

    /// Looks at the files again and again, for as long as the service runs.
    pub async fn watch(self) {
        let Source::Folder(folder) = &*self.0 else {
            return;
        };
        let data_dir = folder.data_dir.clone();
        lookout::watch(
            move |lookout| look(lookout, &data_dir),
            async |found| {
                folder.heard(found);
                folder.problem().is_none()
            },
        )
        .await;
    }
}

/// What one look came to: `None` where the files are as they were.
type LookResult = Option<Result<Option<Filed>, SecretFileError>>;

fn look(lookout: &mut Lookout, data_dir: &Path) -> LookResult {
    let secret = file::secret_path(data_dir);
    match lookout.must_read(&[&secret, &file::rotation_path(&secret)]) {
        Ok(true) => Some(file::read(data_dir)),
        Ok(false) => None,
        Err(error) => Some(Err(file::failed("look at", &secret)(error))),
    }
}

impl Folder {
    /// Takes over what the files say now; keeps what they last said where they say
    /// nothing.
    fn heard(&self, found: LookResult) {
        match found {
            None => {}
            Some(Ok(Some(filed))) => self.take_over(filed),
            Some(Ok(None)) => {
                let path = file::secret_path(&self.data_dir);
                self.note(format!("{} has gone", path.display()));
            }
            Some(Err(error)) => self.note(error.to_string()),
        }
    }

    fn take_over(&self, filed: Filed) {
        let wall = self.wall();
        let before = self.look(|state| state.filed.clone());
        if before != filed {
            match filed.overlap_ends(wall).map(rfc3339) {
                Some(until) => log::info!(
                    "the callback secret has changed; the one before it is in force too until {until}"
                ),
                None if filed.is_cut_off(wall) => {
                    log::info!("a new callback secret is in force beside the one that there is");
                }
                None => log::info!("one callback secret is in force, that of callback.secret"),
            }
        }
        if self.problem().is_some() {
            log::info!("the callback secret can be read again");
        }
        self.change(|state| {
            *state = State {
                filed,
                problem: None,
            }
        });
    }

    /// Goes on with the secrets there are.
    fn note(&self, problem: String) {
        if self.problem().as_ref() != Some(&problem) {
            log::error!("{problem}; the callback secrets known before are still in force");
            self.change(|state| state.problem = Some(problem));
        }
    }

    fn problem(&self) -> Option<String> {
        self.look(|state| state.problem.clone())
    }

    fn wall(&self) -> Millis {
        self.clock.wall().timestamp_millis()
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&read(&self.state))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut write(&self.state));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    const NOW: Millis = 1_700_000_000_000;
    const DAY: Duration = Duration::from_hours(24);

    fn folder_of(secrets: &CallbackSecrets) -> &Folder {
        match &*secrets.0 {
            Source::Folder(folder) => folder,
            Source::Fixed(_) => panic!("they are configured"),
        }
    }

    fn look_again(secrets: &CallbackSecrets) {
        let folder = folder_of(secrets);
        folder.heard(look(&mut Lookout::default(), &folder.data_dir));
    }

    #[test]
    fn a_service_that_runs_follows_a_rotation_to_its_end() {
        let data = tempfile::tempdir().unwrap();
        let (clock, hand) = Clock::manual(NOW);
        let secrets = CallbackSecrets::open(&[], data.path(), clock.clone()).unwrap();
        let old = secrets.in_force();
        assert_eq!(old.len(), 1);
        let announced = || {
            look_again(&secrets);
            let in_force = secrets.in_force();
            assert_eq!((in_force.len(), &in_force[0]), (2, &old[0]));
        };
        file::rotate(data.path(), DAY, NOW, announced).unwrap();
        let new = file::read(data.path()).unwrap().unwrap().current;
        let both = [new.clone(), old[0].clone()];
        look_again(&secrets);
        assert_eq!(secrets.in_force(), both);
        let started = CallbackSecrets::open(&[], data.path(), clock).unwrap();
        hand.advance(DAY - Duration::from_millis(1));
        assert_eq!(secrets.in_force(), both);
        assert_eq!(started.in_force(), both);
        hand.advance(Duration::from_millis(1));
        assert_eq!(
            secrets.in_force(),
            std::slice::from_ref(&new),
            "without a look"
        );
        assert_eq!(started.in_force(), [new]);
    }

    #[test]
    fn secrets_that_are_configured_are_the_ones_in_force() {
        let data = tempfile::tempdir().unwrap();
        let configured: Vec<Secret> = (0..3).map(|_| Secret::generate().unwrap()).collect();
        let (clock, _) = Clock::manual(NOW);
        let secrets = CallbackSecrets::open(&configured, data.path(), clock).unwrap();
        assert_eq!(secrets.in_force(), configured);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }

    #[test]
    fn while_the_files_say_nothing_what_they_last_said_stays_in_force() {
        let data = tempfile::tempdir().unwrap();
        let (clock, _) = Clock::manual(NOW);
        let secrets = CallbackSecrets::open(&[], data.path(), clock).unwrap();
        file::rotate(data.path(), DAY, NOW, || {}).unwrap();
        look_again(&secrets);
        let both = secrets.in_force();
        let path = file::secret_path(data.path());
        let rotation = file::rotation_path(&path);
        for broken in [&path, &rotation] {
            let good = fs::read(broken).unwrap();
            for say in ["", "{", "whsec_"] {
                fs::write(broken, say).unwrap();
                look_again(&secrets);
                assert!(secrets.warning().is_some(), "{say:?}");
                assert_eq!(secrets.in_force(), both);
            }
            fs::write(broken, good).unwrap();
            look_again(&secrets);
            assert_eq!(secrets.warning(), None);
        }
        let exposed = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&rotation, exposed).unwrap();
        look_again(&secrets);
        assert!(secrets.warning().is_some());
        fs::remove_file(&path).unwrap();
        look_again(&secrets);
        assert!(folder_of(&secrets).problem().unwrap().contains("has gone"));
        assert_eq!(secrets.in_force(), both);
    }

    #[test]
    fn an_overlap_is_ended_early_by_removing_its_file() {
        let data = tempfile::tempdir().unwrap();
        let (clock, _) = Clock::manual(NOW);
        file::ensure(data.path()).unwrap();
        file::rotate(data.path(), DAY, NOW, || {}).unwrap();
        let secrets = CallbackSecrets::open(&[], data.path(), clock).unwrap();
        let both = secrets.in_force();
        assert_eq!(both.len(), 2);
        fs::remove_file(file::rotation_path(&file::secret_path(data.path()))).unwrap();
        look_again(&secrets);
        assert_eq!(secrets.in_force(), both[..1]);
    }
}
