//! Random tars: what unpacks is given out again, and nothing makes us panic or hang.

use proptest::prelude::*;

use crate::builder::{Builder, Item, dir, file, hard_link, symlink};
use crate::support::Unpack;

/// Few names, so that they collide.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let component = prop_oneof![
        4 => Just(&b"a"[..]),
        4 => Just(&b"b"[..]),
        2 => Just(&b"\xffc"[..]),
        1 => Just(&b"."[..]),
        1 => Just(&b""[..]),
        1 => Just(&b".wh.a"[..]),
        1 => Just(&b".wh..wh..opq"[..]),
    ];
    let unlikely = prop_oneof![20 => Just(None), 1 => Just(Some(&b".."[..]))];
    (prop::collection::vec(component, 1..4), unlikely).prop_map(|(mut parts, up)| {
        parts.extend(up);
        parts.join(&b'/')
    })
}

fn item(with_symlinks: bool) -> impl Strategy<Value = Item> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1200),
        (250_000usize..600_000).prop_map(|len| vec![5; len]),
    ];
    let symlinks = u32::from(with_symlinks) * 2;
    let kind = prop_oneof![
        4 => (name(), content).prop_map(|(name, content)| file(name, content)),
        3 => name().prop_map(dir),
        2 => (name(), name()).prop_map(|(name, target)| hard_link(name, target)),
        1 => name().prop_map(|name| Item::new(b'6', name)),
        symlinks => (name(), name()).prop_map(|(name, target)| symlink(name, target)),
    ];
    (kind, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(item, has_pax, value)| {
            let item = item.owner(7, 8);
            if has_pax { item.pax("SCHILY.xattr.user.x", value) } else { item }
        },
    )
}

/// A tar, shown as what is in it.
#[derive(Clone)]
struct Tar(Vec<u8>, String);

impl std::fmt::Debug for Tar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.1)
    }
}

fn tar(with_symlinks: bool) -> impl Strategy<Value = Tar> {
    let items = prop::collection::vec(item(with_symlinks), 0..20);
    (items, prop::collection::vec(any::<u8>(), 0..2000)).prop_map(|(items, rest)| {
        let text = format!("{items:?}");
        let mut builder = Builder::default();
        items.into_iter().for_each(|item| builder.add(item));
        let mut bytes = builder.finish();
        bytes.extend(rest);
        Tar(bytes, text)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_unpacks_is_given_out_again(Tar(tar, _) in tar(false)) {
        let unpack = Unpack::of(&tar[..]);
        if let Ok(info) = &unpack.result {
            let (out, rebuilt) = unpack.rebuild();
            // Only a file that replaced a directory with files in it makes that impossible.
            match rebuilt {
                Ok(rebuilt) => {
                    prop_assert!(out == tar);
                    prop_assert_eq!(&rebuilt.diff_id, &info.diff_id);
                }
                Err(error) => prop_assert!(error.to_string().ends_with("is missing from the layer's tree"), "{}", error),
            }
        }
    }

    #[test]
    fn the_same_layer_gives_the_same_tree(Tar(tar, _) in tar(true)) {
        let (one, two) = (Unpack::of(&tar[..]), Unpack::of(&zstd::encode_all(&tar[..], 1).unwrap()[..]));
        match (&one.result, &two.result) {
            (Ok(one_info), Ok(two_info)) => {
                prop_assert_eq!(&one_info.diff_id, &two_info.diff_id);
                prop_assert_eq!(one.tree(), two.tree());
            }
            // Of several errors, any may be the first.
            (Err(_), Err(_)) => {}
            _ => prop_assert!(false, "{:?} but {:?}", one.result, two.result),
        }
    }

    #[test]
    fn damage_is_survived(
        Tar(mut tar, _) in tar(true),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for (index, byte) in damage {
            // Headers only: content may be anything.
            let index = index.index(tar.len().min(2048));
            tar[index] = byte;
        }
        let len = cut.index(tar.len()) + 1;
        let unpack = Unpack::of(&tar[..len]);
        if unpack.result.is_ok() {
            let (out, rebuilt) = unpack.rebuild();
            prop_assert!(rebuilt.is_err() || out == tar[..len]);
        }
    }
}
