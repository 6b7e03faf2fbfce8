//! What dominant resource fairness does not promise, each with the smallest numbers that show it,
//! and the allocator showing it too: none of these is an accident of how it is built.

use super::filling::Instance;
use super::fraction::{Fraction, whole};
use super::pool::Pool;

/// Fills a pool whose users are equals.
fn filled(total: &[i128], tasks: &[&[i128]]) -> Vec<i128> {
    let mut pool = Pool::new(total);
    for task in tasks {
        pool.join("*", task);
    }
    pool.fill();
    pool.counts()
}

#[test]
fn more_of_one_resource_can_leave_somebody_with_less() {
    // R8: resource monotonicity does not hold (Ghodsi et al., section 6.1.5): no allocation can
    // have it and be both efficient and give everybody an even part.
    let tasks: [(i128, &[i128]); 2] = [(1, &[2, 1]), (1, &[1, 2])];
    assert_eq!(Instance::new(&[3, 3], &tasks).fill(), [whole(1), whole(1)]);
    let more = Instance::new(&[6, 3], &tasks).fill();
    assert_eq!(more, [Fraction::new(3, 2), Fraction::new(3, 4)]);
    let tasks: [&[i128]; 2] = [&[20, 10], &[10, 20]];
    assert_eq!(filled(&[3_000, 3_000], &tasks), [100, 100]);
    assert_eq!(filled(&[6_000, 3_000], &tasks), [150, 75]);
}

#[test]
fn who_leaves_can_leave_somebody_with_less_who_does_not_need_everything() {
    // R8: population monotonicity holds only as long as all need something of everything. The
    // third one leaves, the first takes its place, and with it of what the second needs.
    let tasks: [(i128, &[i128]); 3] = [(1, &[3, 1]), (1, &[0, 1]), (1, &[1, 0])];
    let before = Instance::new(&[1, 2], &tasks).fill();
    let after = Instance::new(&[1, 2], &tasks[..2]).fill();
    assert_eq!(before[..2], [Fraction::new(1, 6), Fraction::new(11, 6)]);
    assert_eq!(after, [Fraction::new(2, 7), Fraction::new(12, 7)]);
    let tasks: [&[i128]; 3] = [&[3, 1], &[0, 1], &[1, 0]];
    assert_eq!(filled(&[42, 84], &tasks), [7, 77, 21]);
    assert_eq!(filled(&[42, 84], &tasks[..2]), [12, 72]);
}

#[test]
fn with_whole_tasks_a_lie_can_pay() {
    // R8: strategy-proofness is of divisible tasks. Two users with tasks of one share a pool of
    // two; one that asks for two at a time has all of it.
    assert_eq!(filled(&[2], &[&[1], &[1]]), [1, 1]);
    assert_eq!(filled(&[2], &[&[2], &[1]]), [1, 0]);
}

#[test]
fn with_whole_tasks_somebody_can_have_less_than_an_even_part() {
    // R8: of six, half is worth three tasks of one; but the task of two that came before the third
    // leaves no room for it. What is lost is less than one task of the other's.
    assert_eq!(filled(&[6], &[&[1], &[2]]), [2, 2]);
    // And the one task of three of five is envied by whoever came second.
    assert_eq!(filled(&[5], &[&[3], &[3]]), [1, 0]);
}

#[test]
fn with_weights_an_even_part_is_one_by_weight() {
    // R8: with weights, 1/n and envy count by weight: B has less than half, and would rather have
    // A's part, but no less than a quarter, and not rather than a third of A's.
    let tasks: [(i128, &[i128]); 2] = [(3, &[1]), (1, &[1])];
    assert_eq!(Instance::new(&[100], &tasks).fill(), [whole(75), whole(25)]);
    let mut pool = Pool::new(&[100]);
    pool.weigh("a", 3);
    pool.join("a", &[1]);
    pool.join("b", &[1]);
    pool.fill();
    assert_eq!(pool.counts(), [75, 25]);
}

#[test]
fn in_a_tree_a_child_can_lose_by_what_its_sibling_has() {
    // R8, AL-15, AL-16: a role's share is that of all below it together, so a sibling that has much
    // of what nobody else needs makes the whole role look rich. What `b/x` gives back goes to `a`,
    // down to nothing, though an even part would be a quarter: the starvation that Bhattacharya et
    // al. describe (SoCC 2013, section 3). It has nothing, and envies `a`, which has all it needs:
    // neither sharing incentive nor envy-freeness. Guarantees of quota are the remedy here.
    let mut pool = Pool::new(&[100, 100]);
    pool.join("a", &[1, 0]);
    pool.join("b/x", &[1, 0]);
    pool.join("b/y", &[0, 1]);
    pool.fill();
    assert_eq!(pool.counts(), [50, 50, 100]);
    for _ in 0..50 {
        pool.end(1);
        pool.fill();
    }
    assert_eq!(pool.counts(), [100, 0, 100]);

    // Without the sibling it gets its own back each time.
    let mut pool = Pool::new(&[100, 100]);
    pool.join("a", &[1, 0]);
    pool.join("b/x", &[1, 0]);
    pool.fill();
    for _ in 0..50 {
        pool.end(1);
        pool.fill();
    }
    assert_eq!(pool.counts(), [50, 50]);
}
