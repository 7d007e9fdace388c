//! Values of attributes that the kernel checks.

/// `user::rw-, user:1234:r--, group::r--, mask::r--, other::---` in the kernel's format
/// (include/uapi/linux/posix_acl_xattr.h): version 2, then tag, permissions and id of each entry, little-endian.
pub(crate) const ACL: &[u8] = &[
    2, 0, 0, 0, //
    0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, //
    0x02, 0, 4, 0, 0xd2, 0x04, 0, 0, //
    0x04, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, //
    0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, //
    0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

/// `user::rw-, group::rw-, other::rw-` in the same format.
pub(crate) const ACL_FOR_ALL: &[u8] = &[
    2, 0, 0, 0, //
    0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, //
    0x04, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, //
    0x20, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
];

/// `cap_net_raw=ep` (include/uapi/linux/capability.h): revision 2, permitted and inheritable words.
pub(crate) const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
