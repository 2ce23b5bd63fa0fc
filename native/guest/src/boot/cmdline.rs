//! The kernel command line's `exai.*` keys.

use crate::channel::Channel;

/// What the host asked for. Unknown keys belong to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmdline {
    /// The read-only base; absent for a probe.
    pub root: Option<String>,
    pub rootfs: String,
    /// The writable disk; absent means a tmpfs.
    pub overlay: Option<String>,
    pub channel: Channel,
    pub probe: bool,
    /// The kernel was told how to reboot, which then is how the machine is switched off.
    pub reboot: bool,
}

/// Reads the command line. The error is one sentence for the console.
pub fn parse(text: &str) -> Result<Cmdline, String> {
    let value = |key: &str| {
        let prefix = format!("{key}=");
        // The last one wins, as for the kernel.
        text.split_whitespace().rev().find_map(|word| word.strip_prefix(&prefix).map(str::to_string))
    };
    Ok(Cmdline {
        root: value("exai.root"),
        rootfs: value("exai.rootfs").unwrap_or_else(|| "erofs".into()),
        overlay: value("exai.overlay"),
        channel: channel(value("exai.channel").as_deref())?,
        probe: value("exai.probe").as_deref() == Some("1"),
        reboot: value("reboot").is_some(),
    })
}

fn channel(value: Option<&str>) -> Result<Channel, String> {
    match value {
        None | Some("virtio-serial") => Ok(Channel::VirtioSerial),
        Some(text) => text
            .strip_prefix("vsock:")
            .and_then(|port| port.parse().ok())
            .map(Channel::Vsock)
            .ok_or_else(|| "exai.channel is neither virtio-serial nor vsock:PORT".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_boot_contract() {
        let line =
            parse("quiet exai.root=/dev/vda exai.rootfs=ext4 exai.overlay=/dev/vdb exai.channel=vsock:1024 reboot=t\n");
        let line = line.unwrap();
        assert_eq!((line.root.as_deref(), line.rootfs.as_str()), (Some("/dev/vda"), "ext4"));
        assert_eq!((line.overlay.as_deref(), line.channel), (Some("/dev/vdb"), Channel::Vsock(1024)));
        assert!(line.reboot && !line.probe);
    }

    #[test]
    fn defaults_and_refusals() {
        let line = parse("exai.probe=1").unwrap();
        assert!(line.probe && line.root.is_none() && line.channel == Channel::VirtioSerial);
        assert!(parse("exai.channel=tcp:1").is_err());
        assert!(parse("exai.channel=vsock:x").is_err());
    }
}
