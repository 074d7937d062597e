//! Rules of credentials: who may become whom.
//!
//! Pure functions from old credentials to new ones. "Privileged" in these rules is `CAP_SETUID` or `CAP_SETGID`.
//!
//! Source: credentials(7), capabilities(7), setresuid(2).

use alloc::vec::Vec;

use fs::filecaps::FileCaps;
use fs::{Cap, Credentials, Errno};

/// Means "leave as it is" in the calls that set several ids.
pub const KEEP: u32 = u32::MAX;

/// `SECBIT_*`: root has no privileges of its own.
pub const SECBIT_NOROOT: u32 = 1;
/// `SECBIT_*`: changes of user ids do not change capabilities.
pub const SECBIT_NO_SETUID_FIXUP: u32 = 4;
/// `SECBIT_*`: permitted capabilities survive leaving root.
pub const SECBIT_KEEP_CAPS: u32 = 16;
/// `SECBIT_*`: no ambient capability may be raised.
pub const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 64;
/// The bits that lock others, each one above the bit it locks.
pub const SECBIT_LOCKS: u32 = 0xaa;
/// All bits that there are.
pub const SECBIT_ALL: u32 = 0xff;

/// Capabilities that concern files follow the file system user id.
const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;

/// The three ids of a kind, as setresuid(2) names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
}

/// What capabilities become when user ids change from `old` to those in `new`.
fn fix_capabilities(old: &Credentials, new: &mut Credentials) {
    if new.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if new.securebits & SECBIT_KEEP_CAPS == 0 {
            new.cap_permitted = 0;
            new.cap_effective = 0;
        }
        new.cap_ambient = 0;
    }
    if old.euid == 0 && new.euid != 0 {
        new.cap_effective = 0;
    }
    if old.euid != 0 && new.euid == 0 {
        new.cap_effective = new.cap_permitted;
    }
}

/// setresuid(2). [`KEEP`] leaves an id.
///
/// # Errors
/// `EPERM` if an id is none of the old ones and the caller is not privileged.
pub fn set_resuid(old: &Credentials, ids: Ids) -> Result<Credentials, Errno> {
    let known = |id: u32| id == KEEP || id == old.uid || id == old.euid || id == old.suid;
    let own = known(ids.real) && known(ids.effective) && known(ids.saved);
    if !own && !old.capable(Cap::Setuid) {
        return Err(Errno::EPERM);
    }
    Ok(with_uids(old, ids))
}

fn with_uids(old: &Credentials, ids: Ids) -> Credentials {
    let pick = |id: u32, kept: u32| if id == KEEP { kept } else { id };
    let mut new = old.clone();
    new.uid = pick(ids.real, old.uid);
    new.euid = pick(ids.effective, old.euid);
    new.suid = pick(ids.saved, old.suid);
    new.fsuid = new.euid;
    fix_capabilities(old, &mut new);
    fix_fs_capabilities(old, &mut new);
    new
}

/// setreuid(2).
///
/// # Errors
/// `EPERM`.
pub fn set_reuid(old: &Credentials, real: u32, effective: u32) -> Result<Credentials, Errno> {
    let privileged = old.capable(Cap::Setuid);
    if real != KEEP && real != old.uid && real != old.euid && !privileged {
        return Err(Errno::EPERM);
    }
    if effective != KEEP && ![old.uid, old.euid, old.suid].contains(&effective) && !privileged {
        return Err(Errno::EPERM);
    }
    let follow = real != KEEP || effective != KEEP && effective != old.uid;
    let new_effective = if effective == KEEP {
        old.euid
    } else {
        effective
    };
    Ok(with_uids(
        old,
        Ids {
            real,
            effective,
            saved: if follow { new_effective } else { KEEP },
        },
    ))
}

/// setuid(2).
///
/// # Errors
/// `EPERM`; `EINVAL` for an id that is none.
pub fn set_uid(old: &Credentials, uid: u32) -> Result<Credentials, Errno> {
    if uid == KEEP {
        return Err(Errno::EINVAL);
    }
    if old.capable(Cap::Setuid) {
        return Ok(with_uids(
            old,
            Ids {
                real: uid,
                effective: uid,
                saved: uid,
            },
        ));
    }
    if uid != old.uid && uid != old.suid {
        return Err(Errno::EPERM);
    }
    Ok(with_uids(
        old,
        Ids {
            real: KEEP,
            effective: uid,
            saved: KEEP,
        },
    ))
}

/// setfsuid(2); `None` if nothing changes.
pub fn set_fsuid(old: &Credentials, uid: u32) -> Option<Credentials> {
    let allowed =
        old.capable(Cap::Setuid) || [old.uid, old.euid, old.suid, old.fsuid].contains(&uid);
    if uid == KEEP || !allowed || uid == old.fsuid {
        return None;
    }
    let mut new = old.clone();
    new.fsuid = uid;
    fix_fs_capabilities(old, &mut new);
    Some(new)
}

fn fix_fs_capabilities(old: &Credentials, new: &mut Credentials) {
    if new.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
        return;
    }
    if old.fsuid == 0 && new.fsuid != 0 {
        new.cap_effective &= !FS_CAPS;
    }
    if old.fsuid != 0 && new.fsuid == 0 {
        new.cap_effective |= new.cap_permitted & FS_CAPS;
    }
}

/// setresgid(2).
///
/// # Errors
/// `EPERM`.
pub fn set_resgid(old: &Credentials, ids: Ids) -> Result<Credentials, Errno> {
    let known = |id: u32| id == KEEP || id == old.gid || id == old.egid || id == old.sgid;
    let own = known(ids.real) && known(ids.effective) && known(ids.saved);
    if !own && !old.capable(Cap::Setgid) {
        return Err(Errno::EPERM);
    }
    Ok(with_gids(old, ids))
}

fn with_gids(old: &Credentials, ids: Ids) -> Credentials {
    let pick = |id: u32, kept: u32| if id == KEEP { kept } else { id };
    let mut new = old.clone();
    new.gid = pick(ids.real, old.gid);
    new.egid = pick(ids.effective, old.egid);
    new.sgid = pick(ids.saved, old.sgid);
    new.fsgid = new.egid;
    new
}

/// setregid(2).
///
/// # Errors
/// `EPERM`.
pub fn set_regid(old: &Credentials, real: u32, effective: u32) -> Result<Credentials, Errno> {
    let privileged = old.capable(Cap::Setgid);
    if real != KEEP && real != old.gid && real != old.egid && !privileged {
        return Err(Errno::EPERM);
    }
    if effective != KEEP && ![old.gid, old.egid, old.sgid].contains(&effective) && !privileged {
        return Err(Errno::EPERM);
    }
    let follow = real != KEEP || effective != KEEP && effective != old.gid;
    let new_effective = if effective == KEEP {
        old.egid
    } else {
        effective
    };
    Ok(with_gids(
        old,
        Ids {
            real,
            effective,
            saved: if follow { new_effective } else { KEEP },
        },
    ))
}

/// setgid(2).
///
/// # Errors
/// `EPERM`; `EINVAL` for an id that is none.
pub fn set_gid(old: &Credentials, gid: u32) -> Result<Credentials, Errno> {
    if gid == KEEP {
        return Err(Errno::EINVAL);
    }
    if old.capable(Cap::Setgid) {
        return Ok(with_gids(
            old,
            Ids {
                real: gid,
                effective: gid,
                saved: gid,
            },
        ));
    }
    if gid != old.gid && gid != old.sgid {
        return Err(Errno::EPERM);
    }
    Ok(with_gids(
        old,
        Ids {
            real: KEEP,
            effective: gid,
            saved: KEEP,
        },
    ))
}

/// setfsgid(2); `None` if nothing changes.
pub fn set_fsgid(old: &Credentials, gid: u32) -> Option<Credentials> {
    let allowed =
        old.capable(Cap::Setgid) || [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid);
    if gid == KEEP || !allowed || gid == old.fsgid {
        return None;
    }
    Some(Credentials {
        fsgid: gid,
        ..old.clone()
    })
}

/// setgroups(2).
///
/// # Errors
/// `EPERM`; `EINVAL` if there are more than 65536, or one is none.
pub fn set_groups(old: &Credentials, mut groups: Vec<u32>) -> Result<Credentials, Errno> {
    if !old.capable(Cap::Setgid) {
        return Err(Errno::EPERM);
    }
    if groups.contains(&KEEP) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    Ok(Credentials {
        groups: groups.into(),
        ..old.clone()
    })
}

/// The three sets of capset(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapSets {
    /// What may be used now.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What execve(2) may pass on.
    pub inheritable: u64,
}

/// capset(2).
///
/// # Errors
/// `EPERM` if the sets would grow beyond what the rules allow.
pub fn set_capabilities(old: &Credentials, sets: CapSets) -> Result<Credentials, Errno> {
    let within = |set: u64, of: u64| set & !of == 0;
    let inheritable_ok = within(sets.inheritable, old.cap_inheritable | old.cap_permitted)
        || old.capable(Cap::Setpcap);
    if !inheritable_ok
        || !within(sets.inheritable, old.cap_inheritable | old.cap_bounding)
        || !within(sets.permitted, old.cap_permitted)
        || !within(sets.effective, sets.permitted)
    {
        return Err(Errno::EPERM);
    }
    Ok(Credentials {
        cap_effective: sets.effective,
        cap_permitted: sets.permitted,
        cap_inheritable: sets.inheritable,
        cap_ambient: old.cap_ambient & sets.permitted & sets.inheritable,
        ..old.clone()
    })
}

/// What a program's file says about who runs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Privilege {
    /// The user to become, with `S_ISUID`.
    pub uid: Option<u32>,
    /// The group to become, with `S_ISGID`.
    pub gid: Option<u32>,
    /// Its capabilities.
    pub caps: Option<FileCaps>,
    /// Who runs it has promised to gain nothing (`PR_SET_NO_NEW_PRIVS`).
    pub no_new: bool,
    /// Who traces it may not have more than it may.
    pub watched: bool,
}

/// The credentials that execve(2) leaves, and whether the program runs with more rights than its caller has
/// (`AT_SECURE`).
///
/// # Errors
/// `EPERM` where the bounding set keeps back what the file gives, and the program relies on it.
///
/// Source: capabilities(7), Linux `cap_bprm_creds_from_file`.
pub fn exec(old: &Credentials, privilege: Privilege) -> Result<(Credentials, bool), Errno> {
    let mut new = old.clone();
    new.euid = privilege.uid.unwrap_or(old.euid);
    new.egid = privilege.gid.unwrap_or(old.egid);
    let set_id = new.euid != old.uid || new.egid != old.gid;
    let mut effective = false;
    new.cap_permitted = 0;
    if let Some(caps) = privilege.caps {
        new.cap_permitted =
            old.cap_bounding & caps.permitted | old.cap_inheritable & caps.inheritable;
        if caps.effective && caps.permitted & !new.cap_permitted != 0 {
            return Err(Errno::EPERM);
        }
        effective = caps.effective;
    }
    // A program that becomes root, and has capabilities, has those alone.
    let only_caps = privilege.caps.is_some() && new.euid == 0 && new.uid != 0;
    if new.securebits & SECBIT_NOROOT == 0 && !only_caps {
        if new.euid == 0 || new.uid == 0 {
            new.cap_permitted = old.cap_bounding | old.cap_inheritable;
        }
        effective |= new.euid == 0;
    }
    let gains = set_id || new.cap_permitted & !old.cap_permitted != 0;
    if gains && (privilege.no_new || privilege.watched) {
        if privilege.no_new || !old.capable(Cap::Setuid) {
            new.euid = new.uid;
            new.egid = new.gid;
        }
        new.cap_permitted &= old.cap_permitted;
    }
    new.suid = new.euid;
    new.fsuid = new.euid;
    new.sgid = new.egid;
    new.fsgid = new.egid;
    if set_id || privilege.caps.is_some() {
        new.cap_ambient = 0;
    }
    new.cap_permitted |= new.cap_ambient;
    new.cap_effective = if effective {
        new.cap_permitted
    } else {
        new.cap_ambient
    };
    new.securebits &= !SECBIT_KEEP_CAPS;
    let grew = effective || new.cap_permitted & !new.cap_ambient != 0;
    let secure = set_id || new.uid != 0 && grew;
    Ok((new, secure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(id: u32) -> Ids {
        Ids {
            real: id,
            effective: id,
            saved: id,
        }
    }

    #[test]
    fn leaving_root_drops_capabilities_for_good() {
        let root = Credentials::root();
        let user = set_uid(&root, 1000).unwrap();
        assert_eq!(
            (user.uid, user.euid, user.suid, user.fsuid),
            (1000, 1000, 1000, 1000)
        );
        assert_eq!((user.cap_permitted, user.cap_effective), (0, 0));
        assert_eq!(set_uid(&user, 0).unwrap_err(), Errno::EPERM);
        assert_eq!(set_uid(&user, KEEP).unwrap_err(), Errno::EINVAL);
    }

    #[test]
    fn the_effective_id_alone_leaves_a_way_back() {
        let root = Credentials::root();
        let away = set_resuid(
            &root,
            Ids {
                real: KEEP,
                effective: 1000,
                saved: KEEP,
            },
        )
        .unwrap();
        assert_eq!(
            (away.cap_effective, away.cap_permitted),
            (0, root.cap_permitted)
        );
        let back = set_uid(&away, 0).unwrap();
        assert_eq!(back.cap_effective, root.cap_permitted);
    }

    #[test]
    fn users_swap_among_their_own_ids_only() {
        let user = Credentials {
            suid: 2000,
            ..Credentials::user(1000, 100)
        };
        assert_eq!(
            set_resuid(
                &user,
                Ids {
                    real: 2000,
                    effective: 1000,
                    saved: 1000
                }
            )
            .unwrap()
            .uid,
            2000
        );
        assert_eq!(set_resuid(&user, all(3000)).unwrap_err(), Errno::EPERM);
        assert_eq!(set_uid(&user, 2000).unwrap().uid, 1000);
        assert!(set_resgid(&user, all(7)).is_err());
        assert_eq!(
            set_reuid(&user, 2000, KEEP).unwrap_err(),
            Errno::EPERM,
            "the saved id is not for setreuid's real"
        );
    }

    #[test]
    fn setreuid_moves_the_saved_id_along() {
        let root = Credentials::root();
        let new = set_reuid(&root, 5, 6).unwrap();
        assert_eq!((new.uid, new.euid, new.suid), (5, 6, 6));
        let user = Credentials {
            suid: 0,
            euid: 1000,
            ..Credentials::user(1000, 1)
        };
        assert_eq!(set_reuid(&user, KEEP, 1000).unwrap().suid, 0);
    }

    #[test]
    fn keep_caps_keeps_permitted_but_not_effective() {
        let root = Credentials {
            securebits: SECBIT_KEEP_CAPS,
            ..Credentials::root()
        };
        let user = set_uid(&root, 1000).unwrap();
        assert_eq!(
            (user.cap_permitted, user.cap_effective),
            (root.cap_permitted, 0)
        );
    }

    #[test]
    fn the_file_system_id_carries_its_capabilities() {
        let root = Credentials::root();
        let away = set_fsuid(&root, 1000).unwrap();
        assert!(!away.capable(Cap::DacOverride) && away.capable(Cap::Kill));
        let back = set_fsuid(&away, 0).unwrap();
        assert!(back.capable(Cap::DacOverride));
        assert!(set_fsuid(&Credentials::user(1000, 1), 0).is_none());
    }

    #[test]
    fn capset_only_shrinks() {
        let root = Credentials::root();
        let sets = CapSets {
            effective: 1,
            permitted: 3,
            inheritable: 0,
        };
        let less = set_capabilities(&root, sets).unwrap();
        assert_eq!((less.cap_effective, less.cap_permitted), (1, 3));
        assert!(
            set_capabilities(
                &less,
                CapSets {
                    permitted: 7,
                    ..sets
                }
            )
            .is_err()
        );
        assert!(
            set_capabilities(
                &less,
                CapSets {
                    effective: 7,
                    ..sets
                }
            )
            .is_err()
        );
    }

    #[test]
    fn set_user_id_programs_are_secure_and_root_gets_all() {
        let user = Credentials::user(1000, 100);
        let (new, secure) = exec(
            &user,
            Privilege {
                uid: Some(0),
                ..Privilege::default()
            },
        )
        .unwrap();
        assert!(secure && new.euid == 0 && new.uid == 1000 && new.suid == 0);
        assert_eq!(new.cap_effective, user.cap_bounding);
        let (new, secure) = exec(&user, Privilege::default()).unwrap();
        assert!(!secure && new.cap_permitted == 0);
        let (new, secure) = exec(&Credentials::root(), Privilege::default()).unwrap();
        assert!(!secure && new.cap_effective == new.cap_bounding);
        let (new, secure) = exec(
            &Credentials::root(),
            Privilege {
                uid: Some(1000),
                ..Privilege::default()
            },
        )
        .unwrap();
        assert!(secure && new.cap_effective == 0 && new.euid == 1000);
    }

    #[test]
    fn files_give_capabilities_within_the_bounding_set() {
        let caps = |permitted, effective| Privilege {
            caps: Some(FileCaps {
                permitted,
                inheritable: 0b1000,
                effective,
            }),
            ..Privilege::default()
        };
        let user = Credentials {
            cap_bounding: 0b0110,
            ..Credentials::user(1000, 100)
        };
        let (new, secure) = exec(&user, caps(0b0010, true)).unwrap();
        assert_eq!((new.cap_permitted, new.cap_effective), (0b0010, 0b0010));
        assert!(secure && new.euid == 1000);
        let (new, _) = exec(&user, caps(0b0011, false)).unwrap();
        assert_eq!((new.cap_permitted, new.cap_effective), (0b0010, 0));
        assert_eq!(exec(&user, caps(0b0011, true)).unwrap_err(), Errno::EPERM);
        let heir = Credentials {
            cap_inheritable: 0b1000,
            cap_ambient: 0b1000,
            ..user
        };
        let (new, _) = exec(&heir, caps(0b0010, true)).unwrap();
        assert_eq!((new.cap_permitted, new.cap_ambient), (0b1010, 0));
        let (new, _) = exec(&Credentials::root(), caps(0b0010, false)).unwrap();
        assert_eq!(new.cap_effective, new.cap_bounding);
    }
}
