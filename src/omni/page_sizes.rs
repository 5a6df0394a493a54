//! How many users a page of the list is asked for.
//!
//! Omni's default is 100, and no maximum is documented. Larger pages take fewer requests, so they are tried first,
//! unless one did not work within the last day.

use crate::settings::PageSize;
use crate::util::sync::lock;
use chrono::{DateTime, Utc};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The length of a page that always works: Omni's default.
pub(super) const DEFAULT: u32 = 100;
/// The length that is tried first.
const LARGE: u32 = 1000;
/// How long it is remembered that larger pages do not work.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// What is known of the length of pages.
#[derive(Debug)]
pub(super) struct PageSizes {
    setting: PageSize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The longest page that a probe has seen.
    probed: Option<u32>,
    larger: Larger,
    /// The number of users on the last page that was not the end of the list.
    length: Option<usize>,
}

/// Whether pages above the default work.
#[derive(Clone, Copy, Debug, Default)]
enum Larger {
    #[default]
    Unknown,
    Works,
    /// Since this time they do not.
    Fails(Instant),
}

impl PageSizes {
    pub(super) fn new(setting: PageSize) -> Self {
        Self {
            setting,
            known: Mutex::default(),
        }
    }

    /// Follows what a probe has learned. It overrides what was learned earlier.
    pub(super) fn follow(&self, max_page: Option<u32>) {
        let mut known = lock(&self.known);
        if known.probed != max_page {
            known.probed = max_page;
            known.larger = Larger::Unknown;
        }
    }

    /// Takes in that an earlier process was refused a larger page at this time, unless a probe knows better.
    pub(super) fn recall(&self, at: DateTime<Utc>) {
        // A time in the future means that the clock was set back.
        let age = Utc::now().signed_duration_since(at).to_std();
        let since = age.ok().and_then(|age| Instant::now().checked_sub(age));
        let mut known = lock(&self.known);
        if let (Some(since), None, Larger::Unknown) = (since, known.probed, known.larger) {
            known.larger = Larger::Fails(since);
        }
    }

    /// When a larger page was refused, if that is remembered.
    pub(super) fn refused(&self) -> Option<DateTime<Utc>> {
        match lock(&self.known).larger {
            Larger::Fails(since) if since.elapsed() < REMEMBERED => {
                Some(Utc::now() - since.elapsed())
            }
            Larger::Unknown | Larger::Works | Larger::Fails(_) => None,
        }
    }

    /// How many users to ask for.
    pub(super) fn count(&self) -> u32 {
        let known = lock(&self.known);
        let wanted = match self.setting {
            PageSize::Auto => known.probed.unwrap_or(LARGE).max(1),
            PageSize::Users(users) => users,
        };
        match known.larger {
            Larger::Fails(since) if since.elapsed() < REMEMBERED => wanted.min(DEFAULT),
            _ => wanted,
        }
    }

    /// Records a page with this number of users, which was asked for `count` of them.
    pub(super) fn received(&self, count: u32, length: usize, is_last: bool) {
        let mut known = lock(&self.known);
        if count > DEFAULT {
            known.larger = Larger::Works;
        }
        if !is_last {
            known.length = Some(length);
        }
    }

    /// Records that a larger page did not work, and that one of the default length did right after it. One such page
    /// after others that worked may be chance.
    pub(super) fn larger_failed(&self) {
        let mut known = lock(&self.known);
        known.larger = match known.larger {
            Larger::Works => Larger::Unknown,
            Larger::Unknown | Larger::Fails(_) => Larger::Fails(Instant::now()),
        };
    }

    /// The number of requests that list this many users, by the pages seen so far.
    pub(super) fn pages(&self, users: usize) -> usize {
        let length = lock(&self.known).length;
        let usual = || self.count().min(DEFAULT) as usize;
        users.div_ceil(length.unwrap_or_else(usual).max(1))
    }
}
