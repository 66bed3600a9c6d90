//! A network interface, asked by ioctl through a socket that remembers its network namespace.

use super::{check, interface_index, socket};
use crate::error::OpenError;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_SS_STATS: u32 = 1;
const ETH_GSTRING_LEN: usize = 32;

/// The most statistics of an interface that are looked at.
const STATISTICS_MAX: usize = 4096;

/// Room for statistics that appear between asking for their number and asking for them: the kernel writes all there are.
const STATISTICS_SPARE: usize = 4096;

/// An interface of the network namespace that the thread which made this was in; usable from any thread.
#[derive(Debug)]
pub(crate) struct Interface {
    name: String,
    index: u32,
    control: OwnedFd,
}

impl Interface {
    pub(crate) fn find(name: &str) -> Result<Self, OpenError> {
        let index = interface_index(name)?;
        let control = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
            .map_err(|source| OpenError::System { what: "open a control socket", source })?;
        Ok(Self { name: name.to_owned(), index, control })
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The longest packet behind the Ethernet header, in bytes.
    pub(crate) fn mtu(&self) -> io::Result<u32> {
        let request = self.ioctl(libc::SIOCGIFMTU, self.request())?;
        // SAFETY: SIOCGIFMTU fills this member of the union.
        Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Whether the interface is there and set up.
    pub(crate) fn is_up(&self) -> bool {
        let Ok(request) = self.ioctl(libc::SIOCGIFFLAGS, self.request()) else { return false };
        // SAFETY: SIOCGIFFLAGS fills this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        i32::from(flags) & libc::IFF_UP != 0
    }

    /// How many queues frames arrive on; one where the driver does not say.
    pub(crate) fn rx_queues(&self) -> u32 {
        // struct ethtool_channels: command, four maxima, then the counts of rx, tx, other and combined channels.
        let mut channels = [0u32; 9];
        channels[0] = ETHTOOL_GCHANNELS;
        match self.ethtool(&mut channels) {
            Ok(()) => channels[5].max(channels[8]).max(1),
            Err(_) => 1,
        }
    }

    /// Whether it is an end of a veth pair, as its driver says.
    pub(crate) fn is_veth(&self) -> bool {
        // struct ethtool_drvinfo: command, then the driver's name, 32 bytes, and six fields more.
        let mut info = [0u32; 49];
        info[0] = ETHTOOL_GDRVINFO;
        self.ethtool(&mut info).is_ok() && info[1].to_ne_bytes() == *b"veth" && info[2] == 0
    }

    /// Whether TCP segments may be left to it in one piece.
    pub(crate) fn cuts_segments(&self) -> bool {
        // struct ethtool_value: command, value.
        let mut value = [ETHTOOL_GTSO, 0];
        self.ethtool(&mut value).is_ok() && value[1] != 0
    }

    /// Which of the driver's statistics have a name that `wanted` accepts; empty where the driver has none.
    pub(crate) fn find_statistics(&self, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
        let count = self.statistics_count();
        let mut buffer = vec![0u32; 3 + (count + STATISTICS_SPARE) * ETH_GSTRING_LEN / 4];
        buffer[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, count as u32]);
        if count == 0 || self.ethtool(&mut buffer).is_err() {
            return Vec::new();
        }
        let bytes: Vec<u8> =
            buffer[3..3 + count * ETH_GSTRING_LEN / 4].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let names =
            bytes.chunks_exact(ETH_GSTRING_LEN).map(|name| name.split(|byte| *byte == 0).next().unwrap_or(name));
        names.enumerate().filter(|(_, name)| wanted(&String::from_utf8_lossy(name))).map(|(index, _)| index).collect()
    }

    /// The sum of the statistics at `indices`.
    pub(crate) fn sum_statistics(&self, indices: &[usize]) -> io::Result<u64> {
        let count = self.statistics_count();
        let mut buffer = vec![0u64; 1 + count + STATISTICS_SPARE];
        let [command, len] = [ETHTOOL_GSTATS, count as u32].map(u32::to_ne_bytes);
        buffer[0] =
            u64::from_ne_bytes([command[0], command[1], command[2], command[3], len[0], len[1], len[2], len[3]]);
        self.ethtool(&mut buffer)?;
        Ok(indices.iter().filter_map(|index| buffer.get(1 + index)).sum())
    }

    fn statistics_count(&self) -> usize {
        // struct ethtool_sset_info: command, reserved, a mask of 64 bits, then one count.
        let mut info = [ETHTOOL_GSSET_INFO, 0, 0, 0, 0, 0];
        let mask = (1u64 << ETH_SS_STATS).to_ne_bytes();
        info[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
        info[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
        match self.ethtool(&mut info) {
            Ok(()) => (info[4] as usize).min(STATISTICS_MAX),
            Err(_) => 0,
        }
    }

    /// An ethtool command; `data` is the command's struct with room for its whole answer.
    fn ethtool<T: Copy>(&self, data: &mut [T]) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        self.ioctl(libc::SIOCETHTOOL, request).map(drop)
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: all zeroes are a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // An interface's name is shorter than the field, which so stays terminated.
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn ioctl(&self, number: libc::Ioctl, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: the interface ioctls read and write one `ifreq`, and SIOCETHTOOL what its data points at, which the callers of
        // `ethtool` have made large enough.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), number, &raw mut request) })?;
        Ok(request)
    }
}

/// Asks once in a while whether an interface is still up, for links that have no socket which tells.
#[derive(Debug, Default)]
pub(crate) struct StateWatch {
    calls: u32,
}

impl StateWatch {
    const CALLS_PER_QUESTION: u32 = 4096;

    /// To be called often; true if the interface was asked and is down or gone.
    pub(crate) fn finds_down(&mut self, interface: &Interface) -> bool {
        self.calls = (self.calls + 1) % Self::CALLS_PER_QUESTION;
        self.calls == 0 && !interface.is_up()
    }
}
