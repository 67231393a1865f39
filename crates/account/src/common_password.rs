//! Passwords that everybody tries first.
//!
//! The list (`data/common-passwords.txt`) has what published leaks have most often: everything of 8 and more characters among the 30,000
//! most frequent, the 3,000 most frequent of any length, and some that are frequent in Chinese.

use std::sync::LazyLock;

use md5::{Digest, Md5};

use crate::password::PasswordDigest;

const LIST: &str = include_str!("../data/common-passwords.txt");

/// The first 64 bits of each MD5, sorted. That another password has the same ones happens once in 10^15 passwords.
static COMMON: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut common: Vec<_> = LIST.lines().map(|password| beginning(&Md5::digest(password).into())).collect();
    common.sort_unstable();
    common
});

fn beginning(md5: &[u8; 16]) -> u64 {
    md5.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl PasswordDigest {
    /// Whether it is that of a password which everybody tries first.
    #[must_use]
    pub fn is_common(&self) -> bool {
        let mut md5 = [0; 16];
        hex::decode_to_slice(self.expose(), &mut md5).is_ok() && COMMON.binary_search(&beginning(&md5)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::Password;

    #[test]
    fn common_passwords_are_known_by_their_digests() {
        let digest = |text: &str| Password::given(text.to_owned()).unwrap().digest();
        for common in ["123456", "password", "12345678", "iloveyou", "1qaz2wsx", "woaini1314", "P@ssw0rd"] {
            assert!(digest(common).is_common(), "{common}");
        }
        for other in ["correct horse", "Password-1-of-mine", "密码密码密码密码"] {
            assert!(!digest(other).is_common(), "{other}");
        }
        assert!(PasswordDigest::parse("e10adc3949ba59abbe56e057f20f883e").unwrap().is_common(), "123456, as Fantem sends it");
    }

    #[test]
    fn the_list_is_in_order_and_each_is_there_once() {
        assert!(LIST.lines().is_sorted_by(|one, next| one < next));
        assert!(LIST.lines().filter(|password| password.chars().count() >= Password::SHORTEST_NEW).count() > 10_000);
    }
}
