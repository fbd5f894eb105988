use std::collections::BTreeMap;

use super::*;

type Rows = BTreeMap<(String, u8), DayUsage>;

fn bytes(n: u64) -> Counters {
    Counters { egress: n, ..Counters::default() }
}

/// Writes what is due, as the store does: a row applies if its sequence is higher.
fn write(book: &mut Daybook<u8>, rows: &mut Rows) {
    for (key, usage) in book.due() {
        if rows.get(&key).is_none_or(|r| r.seq < usage.seq) {
            rows.insert(key.clone(), usage);
        }
        book.confirm(&key);
    }
}

fn collect(book: &mut Daybook<u8>, rows: &mut Rows, now: Timestamp, n: u64) {
    if !book.knows(now) {
        let of_month = rows.iter().filter(|((day, _), _)| day.starts_with(&now.month()));
        book.load(now, of_month.map(|(k, u)| (k.clone(), *u)));
    }
    book.begin(now);
    book.add(now, 7, bytes(n));
    write(book, rows);
    book.trim(now);
}

#[test]
fn a_clock_set_back_over_midnight_loses_no_byte() {
    // 2026-01-01T23:59:59Z and the second after.
    let (before, after) = (Timestamp::from_secs(1_767_311_999), Timestamp::from_secs(1_767_312_000));
    let (mut book, mut rows) = (Daybook::new(0), Rows::new());
    assert!(!book.knows(before), "an earlier life of the books may have written");
    for (now, n) in [(before, 1), (after, 2), (before, 4), (after, 8), (before, 16)] {
        collect(&mut book, &mut rows, now, n);
    }
    let days: Vec<_> = rows.iter().map(|((day, _), u)| (day.as_str(), u.bytes())).collect();
    assert_eq!(days, [("2026-01-01", 21), ("2026-01-02", 10)]);
}

#[test]
fn the_next_books_go_on_where_the_last_ones_stopped() {
    let now = Timestamp::from_secs(1_767_311_999);
    let mut rows = Rows::new();
    let mut book = Daybook::new(0);
    collect(&mut book, &mut rows, now, 5);
    let mut next = Daybook::new(book.seq());
    collect(&mut next, &mut rows, now, 6);
    assert!(next.seq() > book.seq() && next.confirmed());
    let row = rows.into_values().next().unwrap();
    assert_eq!((row.bytes(), row.first_at, row.last_at), (11, now, now));
}

#[test]
fn the_next_books_know_of_days_that_the_last_ones_were_ahead_in() {
    // The last second of January, the first of February and of its second day.
    let t = [1_769_903_999, 1_769_904_000, 1_769_990_400].map(Timestamp::from_secs);
    for (behind, ahead) in [(t[0], t[1]), (t[1], t[2])] {
        let mut rows = Rows::new();
        let mut last = Daybook::new(0);
        collect(&mut last, &mut rows, behind, 1);
        collect(&mut last, &mut rows, ahead, 2);
        let mut next = Daybook::new(last.seq());
        collect(&mut next, &mut rows, behind, 4);
        collect(&mut next, &mut rows, ahead, 8);
        let days: Vec<_> = rows.into_values().map(|u| u.bytes()).collect();
        assert_eq!(days, [5, 10]);
    }
}

#[test]
fn a_day_that_is_not_written_yet_stays_in_mind() {
    let (before, after) = (Timestamp::from_secs(1_767_311_999), Timestamp::from_secs(1_767_312_000));
    let mut book = Daybook::new(0);
    book.load(before, []);
    book.begin(before);
    book.add(before, 7u8, bytes(1));
    book.trim(after);
    assert!(book.knows(before) && book.knows(after) && !book.confirmed());
    let due = book.due();
    assert_eq!(due.len(), 1);
    book.confirm(&due[0].0);
    book.begin(after);
    book.trim(after);
    assert!(!book.knows(before) && book.knows(after) && book.confirmed());
}

#[test]
fn marks_tell_what_a_crash_left_out() {
    let marks = Marks { confirmed: bytes(10), sent: bytes(15), sent_seq: 4 };
    assert_eq!(marks.recorded(3), bytes(10));
    assert_eq!(marks.recorded(4), bytes(15));
    assert_eq!(bytes(20).since(marks.recorded(9)), bytes(5));
    assert_eq!(bytes(20).bytes(), 20);
}
