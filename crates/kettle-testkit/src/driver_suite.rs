//! The promises of [`kettle_io::Driver`], tested by number on any driver.
//!
//! [`crate::driver_tests`] makes a module with one test per promise and variant. A promise that a
//! blocking model keeps in another form has that form tested instead; none is left out. The rig that
//! drives them checks on the way that every operation has exactly one last completion and that
//! nothing follows it.

mod files;
mod receiving;
mod rig;
mod sending;
mod standing;
mod unix;
mod waiting;
mod zero_copy;

pub use files::*;
pub use receiving::*;
pub use rig::{Open, Subject};
pub use sending::*;
pub use standing::*;
pub use unix::*;
pub use waiting::*;
pub use zero_copy::*;

/// Makes a module `$name` with a test for each promise. `$subject` is an expression of type
/// [`Subject`].
#[macro_export]
macro_rules! driver_tests {
    ($name:ident, $subject:expr) => {
        fn $name() -> $crate::driver_suite::Subject {
            $subject
        }

        mod $name {
            $crate::driver_tests! { @each $name;
                p1_accept_stands
                p1_receive_stands
                p2_every_operation_ends_once_after_cancel
                p2_every_operation_ends_once_after_detach
                p3_cancel_and_receive_again_loses_nothing
                p3_bytes_between_two_receives_are_not_lost
                p4_send_waits_for_a_slow_reader
                p4_every_strategy_sends_every_region
                p4_send_mixes_memory_and_files
                p4_a_file_that_ends_early_fails
                p4_a_file_cut_while_it_is_sent_fails
                p4_a_file_waits_without_blocking
                p4_a_cancelled_file_leaves_nothing_for_the_next
                p4_a_file_given_up_leaves_nothing_for_the_next
                p4_a_file_to_a_gone_peer_leaves_nothing_for_others
                p4_files_need_no_pipes
                p4_a_file_that_cannot_be_spliced_is_copied
                p4_zero_copy_sends_in_two_steps
                p4_lent_memory_is_kept_after_a_detach
                p4_receiving_goes_on_while_a_send_waits
                p4_room_between_two_sends_is_seen
                p5_the_end_is_seen_behind_any_amount
                p5_end_of_stream_is_an_empty_receive
                p6_send_to_a_gone_peer_fails
                p7_completions_of_submit_and_cancel_end_the_next_wait
                p7_completions_that_were_taken_end_no_wait
                p8_a_wake_ends_one_wait
                p8_wakes_from_other_threads_are_never_lost
                p8_interrupt_ends_every_wait
                p8_interrupts_at_any_time_are_seen
                p9_wait_lasts_as_long_as_its_timeout
                p10_an_idle_connection_pins_no_buffer
                p11_a_flood_does_not_starve_others
                p11_sending_all_the_time_does_not_starve_receiving
                p12_detach_closes_and_silences
                p12_detach_in_the_middle_of_a_flood
                connect_succeeds_and_is_refused
                shutdown_ends_our_side_only
                expect_gathers_a_message
                expect_gives_up_at_the_end_of_the_stream
                unix_peers_are_accepted
                unix_connect_succeeds_and_is_refused
                unix_connect_does_not_wait_for_a_backlog
            }
        }
    };
    (@each $name:ident; $($test:ident)*) => {
        $(#[test]
        fn $test() {
            $crate::driver_suite::$test(&super::$name());
        })*
    };
}
