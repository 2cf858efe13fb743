//! A recording that fits a window, and connections that fit a recording.

use crate::recording::RecordedCall;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

/// Into how many pieces at most a recording is cut that is longer than the window.
const PIECES_MAX: u32 = 20;

/// Most connections of a replay.
const CONNECTIONS_MAX: usize = 1024;

/// What a recording of one call, or of one moment, counts for.
const MOMENT: Duration = Duration::from_secs(1);

/// The calls of a recording that a turn makes.
#[derive(Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Numbers of calls, each with its moment in the excerpt.
    pub moments: Vec<(usize, Duration)>,
    /// After how long it begins again.
    pub period: Duration,
    /// Of how many pieces of the recording it is made; 1: it is all of it.
    pub pieces: usize,
}

/// How long calls with these moments, the first of which is 0, take to come: with a mean pause behind the last, so
/// that beginning again leaves their rate as it is.
pub fn length(moments: &[Duration]) -> Duration {
    let last = moments.last().copied().unwrap_or_default();
    match u32::try_from(moments.len()) {
        Ok(count @ 2..) if !last.is_zero() => last + last / (count - 1),
        Ok(_) => MOMENT,
        Err(_) => last,
    }
}

impl Excerpt {
    /// Of calls that take so long to come, for a window. A recording that is longer than the window is cut into
    /// pieces at even distances, so that the rate and what follows what stay as they were, and no part of it is
    /// left out altogether.
    pub fn of(moments: &[Duration], length: Duration, window: Duration) -> Self {
        if length <= window {
            return Self {
                moments: moments.iter().copied().enumerate().collect(),
                period: length,
                pieces: 1,
            };
        }
        let (stride, piece) = (length / PIECES_MAX, window / PIECES_MAX);
        let cut = moments.iter().enumerate().filter_map(|(number, &moment)| {
            let index = (moment.as_nanos() / stride.as_nanos().max(1)) as u32;
            let offset = moment.checked_sub(stride * index)?;
            (offset < piece && index < PIECES_MAX).then(|| (number, piece * index + offset))
        });
        Self {
            moments: cut.collect(),
            period: window,
            pieces: PIECES_MAX as usize,
        }
    }
}

/// A place for the connection of each call, and how many places there are: as many as connections that were in use
/// at a time, each from its first call to the end of its last. Calls of unknown connections share one.
pub fn slots(calls: &[RecordedCall]) -> (Vec<usize>, usize) {
    let mut ends = HashMap::new();
    for call in calls {
        let end = ends.entry(call.connection).or_insert(call.at);
        *end = call.at.saturating_add(call.took).max(*end);
    }
    let (mut places, mut in_use, mut free) = (HashMap::new(), BinaryHeap::new(), BTreeSet::new());
    let mut count = 0;
    let slots = calls.iter().map(|call| {
        while let Some(&Reverse((end, place))) = in_use.peek()
            && end < call.at
        {
            in_use.pop();
            free.insert(place);
        }
        let place = *places.entry(call.connection).or_insert_with(|| {
            let place = free.pop_first().unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            in_use.push(Reverse((ends[&call.connection], place)));
            place
        });
        place % CONNECTIONS_MAX
    });
    let slots = slots.collect();
    (slots, count.clamp(1, CONNECTIONS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::replay::tests::call;

    fn millis(moments: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        moments.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn beginning_again_leaves_the_rate() {
        assert_eq!(length(&millis([0, 10, 20, 30])), Duration::from_millis(40));
        assert_eq!(length(&millis([0])), MOMENT);
        assert_eq!(length(&millis([0, 0, 0])), MOMENT);
    }

    #[test]
    fn a_short_recording_is_whole() {
        let moments = millis([0, 10, 20]);
        let excerpt = Excerpt::of(&moments, length(&moments), Duration::from_millis(600));
        let wanted: Vec<_> = moments.into_iter().enumerate().collect();
        assert_eq!((excerpt.moments, excerpt.pieces), (wanted, 1));
        assert_eq!(excerpt.period, Duration::from_millis(30));
    }

    #[test]
    fn a_long_recording_is_cut_at_even_distances_and_keeps_its_rate() {
        let moments = millis((0..60_000).step_by(10));
        let window = Duration::from_secs(3);
        let excerpt = Excerpt::of(&moments, length(&moments), window);
        assert_eq!((excerpt.moments.len(), excerpt.period), (300, window));
        let numbers: Vec<_> = excerpt.moments.iter().map(|(number, _)| *number).collect();
        // 150 ms of every 3 s.
        assert_eq!(
            numbers[..16],
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 300]
        );
        assert!(excerpt.moments.is_sorted_by_key(|(_, at)| *at));
        assert_eq!(excerpt.moments[15].1, Duration::from_millis(150));
        assert!(excerpt.moments.iter().all(|(_, at)| *at < window));
    }

    #[test]
    fn a_recording_that_is_nearly_silent_has_its_first_call() {
        let moments = millis([0, 3_600_000]);
        let excerpt = Excerpt::of(&moments, length(&moments), Duration::from_millis(1));
        assert_eq!(excerpt.moments[0], (0, Duration::ZERO));
    }

    #[test]
    fn connections_that_follow_each_other_share_a_place() {
        let at = |millis, took, connection| RecordedCall {
            at: Duration::from_millis(millis),
            took: Duration::from_millis(took),
            connection,
            ..call("/a/B")
        };
        let calls = [
            at(0, 5, Some(1)),
            at(1, 100, Some(2)),
            at(10, 1, Some(3)),
            at(20, 1, Some(1)),
            at(30, 1, Some(4)),
            at(200, 1, None),
            at(200, 1, None),
        ];
        assert_eq!(slots(&calls), (vec![0, 1, 2, 0, 0, 0, 0], 3));
        let many: Vec<_> = (0..5000)
            .map(|number| at(number, 60_000, Some(number)))
            .collect();
        let (slots, count) = slots(&many);
        assert_eq!(
            (count, slots.iter().max()),
            (CONNECTIONS_MAX, Some(&(CONNECTIONS_MAX - 1)))
        );
    }
}
