//! A random member by weight, in constant time (Vose: "A linear algorithm for generating random numbers with a given
//! distribution").

use super::member::Member;
use crate::base::random::Random;

pub struct Sample {
    members: Box<[u32]>,
    /// For each column: a draw below this share of 2^32 picks the column's own member, any other draw the second member.
    /// Empty where all weights are equal.
    columns: Box<[(u32, u32)]>,
}

impl Sample {
    pub fn new(members: &[Member]) -> Self {
        let equal = members.iter().all(|member| member.weight == members[0].weight);
        let columns = if equal { Box::default() } else { columns(members) };
        Self { members: members.iter().map(|member| member.index).collect(), columns }
    }

    /// Whether every member is as likely as any other.
    pub fn is_equal(&self) -> bool {
        self.columns.is_empty()
    }

    pub fn members(&self) -> &[u32] {
        &self.members
    }

    pub fn pick(&self, random: &Random) -> u32 {
        if self.is_equal() {
            return self.members[random.below(self.members.len() as u64) as usize];
        }
        // The upper part chooses the column, the rest of the draw chooses within it.
        let draw = u128::from(random.next_u64()) * self.columns.len() as u128;
        let (column, rest) = ((draw >> 64) as usize, (draw as u64 >> 32) as u32);
        let (share, other) = self.columns[column];
        self.members[if rest < share { column } else { other as usize }]
    }
}

fn columns(members: &[Member]) -> Box<[(u32, u32)]> {
    let count = members.len() as f64;
    let sum: f64 = members.iter().map(|member| member.weight).sum();
    let mut heights: Vec<f64> = members.iter().map(|member| member.weight * count / sum).collect();
    let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..members.len()).partition(|&at| heights[at] < 1.0);
    // Columns that rounding leaves over are full.
    let mut columns: Box<[(u32, u32)]> = (0..members.len() as u32).map(|at| (u32::MAX, at)).collect();
    while let (Some(&giver), Some(taker)) = (high.last(), low.pop()) {
        columns[taker] = ((heights[taker] * f64::from(u32::MAX)) as u32, giver as u32);
        heights[giver] -= 1.0 - heights[taker];
        if heights[giver] < 1.0 {
            high.pop();
            low.push(giver);
        }
    }
    columns
}
