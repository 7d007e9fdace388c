//! The functions of libzfs_core and libnvpair that the packages `zfs-core` and `nvpair` call, looked up when they are needed.
//!
//! These packages name the libraries to the linker, and the loader starts no program without the libraries that it was linked
//! with. So each function is here under its own name, as a jump to where it turns out to be, and the linker takes these.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

macro_rules! functions {
    ($($library:literal: $($name:ident)*;)*) => {
        #[expect(non_upper_case_globals, reason = "the names are the functions'")]
        mod address {
            use super::{AtomicPtr, c_void, not_loaded};
            $($(pub(super) static $name: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *mut c_void);)*)*
        }
        $($(
            /// Jumps there, with the arguments and the stack as the caller left them.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                std::arch::naked_asm!("jmp qword ptr [rip + {}]", sym address::$name);
                // The register is for linkers to use between functions (Procedure Call Standard for AArch64, "IP0").
                #[cfg(target_arch = "aarch64")]
                std::arch::naked_asm!(
                    "adrp x16, {0}", "ldr x16, [x16, :lo12:{0}]", "br x16", sym address::$name
                );
            }
        )*)*
        /// What each library has to have. The jumps are named, too: so the linker meets them.
        const LIBRARIES: &[(&CStr, &[(&CStr, &AtomicPtr<c_void>, unsafe extern "C" fn())])] = &[$((
            $library,
            &[$((
                // SAFETY: the text ends with its only NUL, for a name has none.
                unsafe { CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes()) },
                &address::$name,
                $name,
            )),*],
        )),*];
    };
}

functions! {
    c"libnvpair.so.3":
        nvlist_add_boolean nvlist_add_boolean_value nvlist_alloc nvlist_free nvlist_next_nvpair
        nvpair_name nvpair_type nvpair_value_boolean_value nvpair_value_byte nvpair_value_int16 nvpair_value_int32
        nvpair_value_int64 nvpair_value_int8 nvpair_value_nvlist nvpair_value_string nvpair_value_uint16
        nvpair_value_uint32 nvpair_value_uint64 nvpair_value_uint8;
    c"libzfs_core.so.3":
        libzfs_core_fini libzfs_core_init lzc_clone lzc_create lzc_destroy lzc_exists lzc_rename lzc_snapshot lzc_sync;
}

/// Where a call ends that comes before [`load`].
extern "C" fn not_loaded() -> ! {
    std::process::abort()
}

/// Loads the libraries, for as long as the process lives, and finds every function; what the loader says if it cannot.
pub(crate) fn load() -> Result<(), String> {
    for (library, functions) in LIBRARIES {
        // SAFETY: the name is a C string; what the libraries do when they are loaded is trusted as if they were linked.
        let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            return Err(reason());
        }
        for (name, address, jump) in *functions {
            // SAFETY: the handle is that of a library, which is never closed; the name is a C string.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            // A program that finds its own jump would jump forever.
            if found.is_null() || std::ptr::eq(found, *jump as *const c_void) {
                return Err(reason());
            }
            address.store(found, Ordering::Release);
        }
    }
    Ok(())
}

/// What the loader failed at last.
fn reason() -> String {
    // SAFETY: it may be called at any time (dlerror(3)).
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "it lacks a function".to_owned();
    }
    // SAFETY: the message is a C string until this thread's next call of the loader.
    let message = unsafe { CStr::from_ptr(message) };
    message.to_string_lossy().into_owned()
}
