//! Weighted draws in constant time, exact: Vose's alias method on integers.

use super::{Member, scale};

/// Draws the index of a member with a probability of exactly its share of the weights.
///
/// Every member owns a column of height `total / n`. Columns of light members are filled up with
/// a part of a heavy one, so a draw picks a column, then one of at most two members in it.
/// Heights are kept multiplied by `n`, which makes them whole numbers.
#[derive(Debug)]
pub struct AliasTable {
    /// None when all weights are equal: who owns the column of a draw is drawn then.
    columns: Box<[Column]>,
    /// How many members there are to draw.
    members: usize,
    /// The height of a full column.
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Below it the column is its owner's.
    own: u64,
    /// Whose the rest is.
    alias: u32,
}

impl AliasTable {
    /// The table of these members; empty when no weight is over 0.
    pub fn new(members: &[Member]) -> AliasTable {
        let total: u64 = members.iter().map(Member::weight).sum();
        if total == 0 {
            return AliasTable { columns: Box::default(), members: 0, total };
        }
        if members.iter().all(|member| member.weight == members[0].weight) {
            return AliasTable { columns: Box::default(), members: members.len(), total };
        }
        let full = u128::from(total);
        let mut height: Vec<u128> =
            members.iter().map(|member| u128::from(member.weight()) * members.len() as u128).collect();
        let mut columns: Box<[Column]> =
            (0..members.len()).map(|index| Column { own: total, alias: index as u32 }).collect();
        let (mut light, mut heavy): (Vec<usize>, Vec<usize>) =
            (0..members.len()).partition(|index| height[*index] < full);
        while let (Some(small), Some(&large)) = (light.pop(), heavy.last()) {
            columns[small] = Column { own: height[small] as u64, alias: large as u32 };
            height[large] -= full - height[small];
            if height[large] < full {
                heavy.pop();
                light.push(large);
            }
        }
        AliasTable { columns, members: members.len(), total }
    }

    /// The member for these random bits.
    pub fn draw(&self, random: u64) -> Option<usize> {
        let product = u128::from(random) * self.members as u128;
        let index = (product >> 64) as usize;
        let Some(column) = self.columns.get(index) else {
            return (index < self.members).then_some(index);
        };
        // What the choice of the column left over of the random bits is uniform again.
        let within = scale(product as u64, self.total);
        Some(if within < column.own { index } else { column.alias as usize })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::members;
    use super::*;

    /// The probability of each member as a multiple of `1 / (total * n)`.
    fn shares(weights: &[u32]) -> Vec<u64> {
        let table = AliasTable::new(&members(weights));
        let mut shares = vec![0; weights.len()];
        for (index, column) in table.columns.iter().enumerate() {
            shares[index] += column.own;
            shares[column.alias as usize] += table.total - column.own;
        }
        shares
    }

    #[test]
    fn every_member_has_exactly_its_share() {
        for weights in [&[1, 1, 2][..], &[5, 1, 1], &[0, 7, 0, 3], &[1, 1_000_000, 3, 3, 500]] {
            let expected: Vec<u64> =
                weights.iter().map(|weight| u64::from(*weight) * weights.len() as u64).collect();
            assert_eq!(shares(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn members_of_equal_weight_are_drawn_without_a_table() {
        let table = AliasTable::new(&members(&[7, 7, 7]));
        assert!(table.columns.is_empty());
        let third = u64::MAX / 3;
        let draws = [0, third, third + 1, 2 * third, 2 * third + 1, u64::MAX];
        assert_eq!(draws.map(|random| table.draw(random)), [0, 0, 1, 1, 2, 2].map(Some));
    }

    #[test]
    fn the_extremes_of_the_random_bits_are_members() {
        let table = AliasTable::new(&members(&[1, 2, 3]));
        assert!(table.draw(0).is_some_and(|index| index < 3));
        assert!(table.draw(u64::MAX).is_some_and(|index| index < 3));
    }

    #[test]
    fn without_weight_there_is_nothing_to_draw() {
        assert_eq!(AliasTable::new(&members(&[])).draw(7), None);
        assert_eq!(AliasTable::new(&members(&[0, 0])).draw(7), None);
    }
}
