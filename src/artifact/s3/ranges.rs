//! Which bytes to ask for: pure, from what is to be read to the requests for it.
//!
//! The figures are for S3 as a Fargate task sees it: an answer begins after some 5 ms or more, and one connection then carries some 50 MB/s. What is read
//! in 5 ms is 250 kB: about so much may be read in vain to save a request.

use std::ops::Range;

/// The first request asks for this much from the object's end, in bytes: all of a small artifact, or the directory of a zip of some ten thousand entries.
/// 20 ms of transfer.
pub const TAIL: u64 = 1 << 20;
/// Two parts that are no further apart than this, in bytes, are read as one.
pub const GAP: u64 = 256 << 10;
/// What one request asks for at most, in bytes: 40 ms of transfer, which makes the request's own 5 ms small.
pub const PIECE: u64 = 2 << 20;
/// How many requests are under way at once.
pub const PARALLEL: usize = 8;
/// What is read at once, and held at once, in bytes: one round of parallel requests.
pub const BATCH: u64 = PIECE * PARALLEL as u64;
/// What is read where a part turns out to be longer than was planned, in bytes.
pub const STRAY: u64 = 64 << 10;

/// The parts in order, those below `end` only, neighbours joined, and none larger than a [`PIECE`].
pub fn plan(mut parts: Vec<Range<u64>>, end: u64) -> Vec<Range<u64>> {
    parts.sort_unstable_by_key(|part| part.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for part in parts {
        let part = part.start..part.end.min(end);
        match joined.last_mut() {
            _ if part.is_empty() => {}
            Some(last) if part.start <= last.end.saturating_add(GAP) => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    joined.into_iter().flat_map(pieces).collect()
}

/// The part in as few pieces of much the same size as it takes.
pub fn pieces(part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let length = part.end.saturating_sub(part.start);
    let size = length.div_ceil(length.div_ceil(PIECE).max(1)).max(1);
    let starts = (0..length.div_ceil(size)).map(move |n| part.start + n * size);
    starts.map(move |start| start..(start + size).min(part.end))
}

/// The pieces of one batch, beginning with that in which `position` lies; none when it lies in no piece.
pub fn batch(plan: &[Range<u64>], position: u64) -> &[Range<u64>] {
    let first = plan.partition_point(|piece| piece.end <= position);
    if !plan.get(first).is_some_and(|piece| piece.contains(&position)) {
        return &[];
    }
    let mut total = 0;
    let count = plan[first..].iter().take_while(|piece| {
        total += piece.end - piece.start;
        total <= BATCH
    });
    let count = count.count().max(1);
    &plan[first..first + count]
}

/// What a `Content-Range` header says: the part, and the size of the whole. None for anything that names no part of a known whole.
pub fn content_range(header: &str) -> Option<(Range<u64>, u64)> {
    let (part, size) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first..last + 1, size))
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one part")]
mod tests {
    use super::*;

    const FAR: u64 = u64::MAX;

    #[test]
    fn neighbours_are_read_as_one_and_the_rest_is_not() {
        let table = [
            (vec![], FAR, vec![]),
            (vec![500..600, 0..10, 10..20], FAR, vec![0..600]),
            (vec![0..10, 10 + GAP..20 + GAP], FAR, vec![0..20 + GAP]),
            (vec![0..10, 11 + GAP..20 + GAP], FAR, vec![0..10, 11 + GAP..20 + GAP]),
            (vec![0..100, 20..30], FAR, vec![0..100]),
            // What lies in the tail is there already.
            (vec![0..100, 150..300, 400..500], 200, vec![0..200]),
            (vec![250..300], 200, vec![]),
            (
                vec![0..PIECE * 3],
                FAR,
                vec![0..PIECE, PIECE..2 * PIECE, 2 * PIECE..3 * PIECE],
            ),
            (
                vec![7..7 + PIECE + 2],
                FAR,
                vec![7..8 + PIECE / 2, 8 + PIECE / 2..9 + PIECE],
            ),
        ];
        for (parts, end, expected) in table {
            assert_eq!(plan(parts.clone(), end), expected, "{parts:?}");
        }
    }

    #[test]
    fn a_batch_is_one_round_of_requests() {
        let plan: Vec<_> = pieces(100..100 + BATCH * 2).collect();
        assert_eq!(plan.len(), 2 * PARALLEL);
        assert_eq!(batch(&plan, 100), &plan[..PARALLEL]);
        assert_eq!(batch(&plan, 100 + PIECE), &plan[1..=PARALLEL]);
        assert_eq!(batch(&plan, 99 + 2 * BATCH), &plan[2 * PARALLEL - 1..]);
        assert_eq!(batch(&plan, 100 + 2 * BATCH), &[]);
        assert_eq!(batch(&plan, 99), &[]);
        assert_eq!(batch(&[], 0), &[]);
    }

    #[test]
    fn a_content_range_names_a_part_of_a_known_whole() {
        let table = [
            ("bytes 0-0/1", Some((0..1, 1))),
            ("bytes 100-199/200", Some((100..200, 200))),
            ("bytes 0--1/0", None),
            ("bytes */200", None),
            ("bytes 0-99/*", None),
            ("bytes 0-200/200", None),
            ("bytes 7-6/200", None),
            ("items 0-1/2", None),
            ("bytes 0-18446744073709551615/18446744073709551615", None),
        ];
        for (header, expected) in table {
            assert_eq!(content_range(header), expected, "{header}");
        }
    }
}
