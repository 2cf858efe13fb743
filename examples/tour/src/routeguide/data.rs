//! The sights of an island that does not exist.

use super::{Feature, Point};

const SIGHTS: [(&str, i32, i32); 12] = [
    ("Lantern Cove", 551_200_000, -61_900_000),
    ("The Old Ferry Steps", 551_210_000, -61_850_000),
    ("Harbour Kettle, a tea room", 551_215_000, -61_840_000),
    ("Saltmarsh Boardwalk", 551_300_000, -61_700_000),
    ("Three Sisters Rocks", 551_420_000, -61_610_000),
    ("Whistling Pass", 551_460_000, -61_480_000),
    ("Hut below the Pass", 551_470_000, -61_470_000),
    ("Upper Tarn", 551_510_000, -61_390_000),
    ("Lower Tarn", 551_505_000, -61_370_000),
    ("Drovers' Bridge", 551_380_000, -61_200_000),
    ("Sheepfold", 551_360_000, -61_150_000),
    ("East Light", 551_250_000, -60_900_000),
];

/// All sights.
pub fn features() -> Vec<Feature> {
    let feature = |&(name, latitude, longitude): &(&str, i32, i32)| Feature {
        name: name.to_owned(),
        location: Some(Point {
            latitude,
            longitude,
        }),
    };
    SIGHTS.iter().map(feature).collect()
}
