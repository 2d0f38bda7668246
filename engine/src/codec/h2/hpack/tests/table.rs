//! The dynamic table: eviction, sizes, its memory, and a slow model that does the same.

use super::super::{
    Name,
    table::{Entry, Table},
};
use super::{Numbers, decoder, entries, hex, read, size_of, to_index};
use std::collections::VecDeque;

/// "[...] entries are evicted from the end of the dynamic table until the size of the dynamic table is less than or equal
/// to (maximum size - new entry size) or until the table is empty" (RFC 7541 section 4.4).
#[test]
fn the_oldest_are_evicted() {
    // 3 x 34 bytes.
    let mut decoder = decoder(4096);
    read(&mut decoder, &[hex("3f47"), to_index("a", "1"), to_index("b", "2"), to_index("c", "3")].concat()).unwrap();
    assert_eq!(entries(&mut decoder), ["c: 3", "b: 2", "a: 1"]);
    read(&mut decoder, &to_index("d", "")).unwrap();
    assert_eq!(entries(&mut decoder), ["d: ", "c: 3", "b: 2"]);
    read(&mut decoder, &to_index("eee", "")).unwrap();
    assert_eq!(entries(&mut decoder), ["eee: ", "d: ", "c: 3"]);
    read(&mut decoder, &to_index("f", "33333")).unwrap();
    assert_eq!(entries(&mut decoder), ["f: 33333", "eee: "]);
}

/// "It is not an error to attempt to add an entry that is larger than the maximum size; an attempt to add an entry larger
/// than the maximum size causes the table to be emptied" (RFC 7541 section 4.4).
#[test]
fn an_entry_that_is_too_large_empties_the_table() {
    let mut decoder = decoder(4096);
    read(&mut decoder, &[hex("3f47"), to_index("a", "1")].concat()).unwrap();
    let exact = to_index("name", &"x".repeat(102 - 32 - 4));
    assert_eq!(read(&mut decoder, &exact).unwrap().len(), 1);
    assert_eq!(size_of(&entries(&mut decoder)), 102);
    let too_large = to_index("name", &"x".repeat(103 - 32 - 4));
    assert_eq!(read(&mut decoder, &too_large).unwrap().len(), 1);
    assert!(entries(&mut decoder).is_empty());
    // Nothing fits into no table, and that is no error either.
    read(&mut decoder, &[hex("20"), to_index("", "")].concat()).unwrap();
    assert!(entries(&mut decoder).is_empty());
}

/// "A new entry can reference the name of an entry in the dynamic table that will be evicted when adding this new entry
/// into the dynamic table. Implementations are cautioned to avoid deleting the referenced name" (RFC 7541 section 4.4).
#[test]
fn the_name_of_an_entry_that_goes() {
    let mut decoder = decoder(4096);
    read(&mut decoder, &[hex("3f47"), to_index("custom", "1"), to_index("b", "2")].concat()).unwrap();
    // Index 63 is the older one. The new entry takes all of the room.
    let block = [hex("7f00 40"), vec![b'y'; 64]].concat();
    assert_eq!(read(&mut decoder, &block).unwrap(), [format!("custom: {}", "y".repeat(64))]);
    assert_eq!(entries(&mut decoder), [format!("custom: {}", "y".repeat(64))]);
    // Too large for the table by one byte: the name is still that of the entry.
    let block = [hex("7e 41"), vec![b'z'; 65]].concat();
    assert_eq!(read(&mut decoder, &block).unwrap(), [format!("custom: {}", "z".repeat(65))]);
    assert!(entries(&mut decoder).is_empty());
}

/// "Whenever the maximum size for the dynamic table is reduced, entries are evicted [...] until the size of the dynamic
/// table is less than or equal to the maximum size" (RFC 7541 section 4.3).
#[test]
fn a_smaller_maximum_evicts() {
    let mut decoder = decoder(4096);
    read(&mut decoder, &[to_index("a", "1"), to_index("b", "2"), to_index("c", "3")].concat()).unwrap();
    read(&mut decoder, &hex("3f26 3fe11f")).unwrap();
    assert_eq!(entries(&mut decoder), ["c: 3", "b: 2"]);
    read(&mut decoder, &hex("20 3fe11f")).unwrap();
    assert!(entries(&mut decoder).is_empty());
    read(&mut decoder, &to_index("d", "4")).unwrap();
    assert_eq!(entries(&mut decoder), ["d: 4"]);
}

/// Long runs of insertions of all lengths, with sizes that change in between, against a list of strings.
#[test]
fn a_slow_model_holds_the_same() {
    for seed in 0..20 {
        let mut numbers = Numbers(seed);
        let limit = [64, 100, 256, 1000, 4096][numbers.below(5)];
        let mut decoder = decoder(4096);
        let (mut model, mut max) = (VecDeque::<String>::new(), limit);
        read(&mut decoder, &size_update(limit)).unwrap();
        for _ in 0..200 {
            let fit = |model: &mut VecDeque<String>, room: usize| {
                while size_of(model.make_contiguous()) > room {
                    model.pop_back();
                }
            };
            if numbers.below(20) == 0 {
                max = numbers.below(limit + 1);
                fit(&mut model, max);
                read(&mut decoder, &size_update(max)).unwrap();
            }
            let (name_len, value_len) = (numbers.below(20), numbers.below(1 + limit / 2));
            let letter = |numbers: &mut Numbers| char::from(b'a' + numbers.below(26) as u8);
            let name: String = (0..name_len).map(|_| letter(&mut numbers)).collect();
            let value: String = (0..value_len).map(|_| letter(&mut numbers)).collect();
            read(&mut decoder, &to_index(&name, &value)).unwrap();
            let entry = format!("{name}: {value}");
            let size = size_of(std::slice::from_ref(&entry));
            fit(&mut model, max.saturating_sub(size));
            if size <= max {
                model.push_front(entry);
            }
            assert_eq!(entries(&mut decoder), *model.make_contiguous());
        }
    }
}

fn size_update(size: usize) -> Vec<u8> {
    let mut block = Vec::new();
    super::super::integer::write(&mut block, 0x20, 5, size);
    block
}

/// No memory before something is put in; then as much as was put in, up to the maximum; none again without a table.
#[test]
fn memory_follows_what_is_put_in() {
    let name = Name::of(b"name");
    let mut table = Table::new(5000);
    assert_eq!(table.memory(), 0);
    table.insert(b"namevalue", 4, name, true);
    assert!((1..=1024).contains(&table.memory()), "{}", table.memory());
    for round in 0..1000 {
        table.insert(&[b'x'; 200][..round % 200], 0, name, true);
    }
    // The ring of texts, and an entry for every 32 bytes at most in a list that doubles.
    let entry_bytes = 256 * std::mem::size_of::<Entry>();
    let full = table.memory();
    assert!(full <= 5000 + entry_bytes, "{full}");
    for _ in 0..1000 {
        table.insert(b"", 0, name, true);
    }
    assert!(table.memory() <= 5000 + entry_bytes);
    table.set_max(0);
    assert_eq!(table.memory(), 0);
}

/// A full table is filled round and round: no insertion moves or allocates.
#[test]
fn a_warm_table_keeps_its_memory() {
    let name = Name::of(b"name");
    let mut table = Table::new(4096);
    let fill = |table: &mut Table| {
        for len in (0..400).chain([4096 - 32, 0, 4000]) {
            table.insert(&vec![b'x'; len], 0, name, true);
        }
        (0..200).for_each(|_| table.insert(b"", 0, name, true));
    };
    fill(&mut table);
    let (place, memory) = (table.place(), table.memory());
    fill(&mut table);
    assert_eq!((table.place(), table.memory()), (place, memory));
}
