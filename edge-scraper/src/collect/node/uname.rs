//! uname(2): kernel and host name.

use super::page::Page;
use super::roots::{PartError, Roots};

pub(super) fn read(_: &Roots, page: &mut Page) -> Result<(), PartError> {
    let uname = rustix::system::uname();
    let text = |bytes: &std::ffi::CStr| bytes.to_string_lossy().into_owned();
    page.gauge(
        "node_uname_info",
        "Labeled system information as provided by the uname system call.",
    )
    .row(
        &[
            ("sysname", &text(uname.sysname())),
            ("release", &text(uname.release())),
            ("version", &text(uname.version())),
            ("machine", &text(uname.machine())),
            ("nodename", &text(uname.nodename())),
            ("domainname", &text(uname.domainname())),
        ],
        1.0,
    );
    Ok(())
}
