//! Shell-like patterns over function names: `*` for any run of characters, `?` for any one.

use std::fmt;
use std::str::FromStr;

/// A pattern that a whole function name matches or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// As it was typed.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go back to: just after the last `*`, and the first character it has not swallowed yet.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p + 1, n));
                    p += 1;
                }
                Some(&c) if c == b'?' || c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((after, swallowed)) = star else { return false };
                    star = Some((after, swallowed + 1));
                    (p, n) = (after, swallowed + 1);
                }
            }
        }
        pattern[p..].iter().all(|&c| c == b'*')
    }
}

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ok = |c: char| c.is_ascii_alphanumeric() || "_.*?".contains(c);
        match text.chars().find(|&c| !ok(c)) {
            None if !text.is_empty() => Ok(Self(text.to_owned())),
            None => Err("the pattern is empty; give a function's name, `*` and `?` stand for any".to_owned()),
            Some(c) => {
                Err(format!("`{c}` is in no function's name; use letters, digits, `_`, `.`, `*` and `?`"))
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Glob>().unwrap().matches(name)
    }

    #[test]
    fn a_plain_name_matches_only_itself() {
        assert!(matches("arch_cpu_idle", "arch_cpu_idle"));
        assert!(!matches("arch_cpu_idle", "arch_cpu_idle_dead"));
        assert!(!matches("arch_cpu_idle", "x_arch_cpu_idle"));
    }

    #[test]
    fn a_star_swallows_any_run_and_backs_off() {
        assert!(matches("*idle*", "arch_cpu_idle_dead"));
        assert!(matches("a*a", "aba"));
        assert!(matches("*_cpu_*le", "arch_cpu_cpu_idle"));
        assert!(!matches("*idle", "arch_cpu_idle_dead"));
        assert!(matches("*", ""));
    }

    #[test]
    fn a_question_mark_needs_one_character() {
        assert!(matches("ct_nmi_e?ter", "ct_nmi_enter"));
        assert!(!matches("idle?", "idle"));
    }

    #[test]
    fn a_pattern_that_no_name_can_match_is_refused() {
        assert!("foo[ab]".parse::<Glob>().is_err());
        assert!("".parse::<Glob>().is_err());
    }
}
