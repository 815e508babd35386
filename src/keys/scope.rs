//! What a key may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One thing that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask for work, and call off, repeat, erase and have delivered again what is
    /// one's own.
    Submit,
    /// See what is one's own.
    Read,
    /// All of that, with everybody's work, and what concerns the whole service.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// What one key may do, at least one thing where it was read by
/// [`Scopes::from_str`] or from the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes {
    submit: bool,
    read: bool,
    admin: bool,
}

impl Scopes {
    /// Everything: what keys of `server.api_keys` may do.
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.to_vec().into()
    }

    /// Whether this is among what the key may do; `admin` has the others in it.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        self.admin || self.has(scope)
    }

    /// Whether there is nothing that the key may do.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn has(self, scope: Scope) -> bool {
        match scope {
            Scope::Submit => self.submit,
            Scope::Read => self.read,
            Scope::Admin => self.admin,
        }
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        let mut all = Self::default();
        for scope in scopes {
            match scope {
                Scope::Submit => all.submit = true,
                Scope::Read => all.read = true,
                Scope::Admin => all.admin = true,
            }
        }
        all
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        let all = Scope::ALL.into_iter();
        all.filter(|scope| scopes.has(*scope)).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Vec::from(*self).into_iter().map(Scope::as_str).collect();
        out.write_str(&names.join(","))
    }
}

/// A name that no scope has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope \"{0}\"; there are submit, read and admin")]
pub struct UnknownScope(String);

impl FromStr for Scopes {
    type Err = UnknownScope;

    /// Names separated by commas.
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let named = text.split(',').map(str::trim).map(|name| {
            let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
            known.ok_or_else(|| UnknownScope(name.to_owned()))
        });
        Ok(named.collect::<Result<Vec<Scope>, _>>()?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_has_the_others_in_it_and_they_have_nothing_but_themselves() {
        for scope in Scope::ALL {
            let alone: Scopes = vec![scope].into();
            for other in Scope::ALL {
                let allowed = scope == Scope::Admin || scope == other;
                assert_eq!(alone.allow(other), allowed, "{scope:?} {other:?}");
            }
        }
        assert!(
            Scope::ALL
                .iter()
                .all(|scope| !Scopes::default().allow(*scope))
        );
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        let both: Scopes = " read,submit".parse().unwrap();
        assert_eq!(both.to_string(), "submit,read");
        assert_eq!(Scopes::all().to_string(), "submit,read,admin");
        for wrong in ["", "submit,", "all", "Submit", "submit;read"] {
            assert!(wrong.parse::<Scopes>().is_err(), "{wrong}");
        }
    }
}
