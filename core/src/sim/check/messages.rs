//! What frameworks and executors have to say to each other (FW-51, FW-63) comes to whom it is for,
//! to nobody else, and no more often than it was said. That it comes at all nobody promises.
//!
//! Told from the logics at both ends, whatever masters, agents and connections lie between them.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Broken;
use super::identity::Identities;
use crate::ids::{AgentId, ExecutorId, FrameworkId};
use crate::sim::property::Property;
use crate::sim::queue::Name;
use crate::sim::world::World;

/// A word between a framework and an executor of its own, as one of them has said or heard it; `A`
/// is how the executor's agent is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Word<A> {
    pub(in crate::sim) is_said: bool,
    pub(in crate::sim) agent: A,
    pub(in crate::sim) executor: ExecutorId,
    pub(in crate::sim) data: Vec<u8>,
}

/// Whose words, and which.
type Key = (FrameworkId, ExecutorId, Vec<u8>);

/// What was said and is not heard.
#[derive(Debug, Default)]
pub(in crate::sim) struct Messages {
    /// For which agents it is.
    to_executors: BTreeMap<Key, Vec<AgentId>>,
    /// On which agents, by number, it was said.
    to_frameworks: BTreeMap<Key, Vec<u32>>,
    /// How many words executors have heard, and frameworks.
    pub(in crate::sim) heard: (u64, u64),
}

impl Messages {
    /// A framework has said or heard something.
    pub(in crate::sim) fn of_framework(
        &mut self,
        framework: &FrameworkId,
        word: Word<AgentId>,
        ids: &Identities,
    ) -> Result<(), Broken> {
        let key = (framework.clone(), word.executor, word.data);
        if word.is_said {
            self.to_executors.entry(key).or_default().push(word.agent);
            return Ok(());
        }
        self.heard.1 += 1;
        let home = ids.agent(&word.agent);
        take(&mut self.to_frameworks, &key, |n| Some(*n) == home)
    }

    /// An executor of a framework, on the agent of this number, has said or heard something.
    pub(in crate::sim) fn of_executor(
        &mut self,
        framework: &FrameworkId,
        word: Word<u32>,
        ids: &Identities,
    ) -> Result<(), Broken> {
        let key = (framework.clone(), word.executor, word.data);
        if word.is_said {
            self.to_frameworks.entry(key).or_default().push(word.agent);
            return Ok(());
        }
        self.heard.0 += 1;
        take(&mut self.to_executors, &key, |agent| {
            ids.agent(agent) == Some(word.agent)
        })
    }
}

/// Takes one of the words that were said and can have been heard.
fn take<A>(
    said: &mut BTreeMap<Key, Vec<A>>,
    key: &Key,
    fits: impl Fn(&A) -> bool,
) -> Result<(), Broken> {
    let open = said.get_mut(key);
    let one = open.and_then(|open| Some((open.iter().position(fits)?, open)));
    let Some((place, open)) = one else {
        let (framework, executor, data) = key;
        let text = String::from_utf8_lossy(data);
        let problem = format!(
            "{text:?} is heard between {framework} and its executor {executor}, and was not said \
             there, or not so often"
        );
        return Err((Property::Messages, problem));
    };
    open.swap_remove(place);
    if open.is_empty() {
        said.remove(key);
    }
    Ok(())
}

impl World {
    /// Takes in what the executors of an agent have said and heard.
    pub(in crate::sim) fn note_executors_words(&mut self, n: u32) {
        let containers = &mut self.agents[crate::sim::world::at(n)].containers;
        for (framework, word) in containers.executors().take_words() {
            let ids = &self.identities;
            let checked = self.messages.of_executor(&framework, word, ids);
            self.note(Name::Agent(n), checked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::check::scene::{agent, framework, registered};

    fn word<A>(is_said: bool, agent: A, executor: &str) -> Word<A> {
        Word {
            is_said,
            agent,
            executor: ExecutorId::new(executor).unwrap(),
            data: Vec::from(*b"hello"),
        }
    }

    /// The agent is that of number 1.
    fn ids() -> Identities {
        let mut ids = Identities::default();
        let crate::master::Effect::Agent { message, .. } = registered(super::super::scene::AGENT)
        else {
            panic!("an agent is told that it is back");
        };
        ids.agent_hears(1, &message).unwrap();
        ids
    }

    // FW-51, FW-63
    #[test]
    fn what_comes_twice_or_to_another_is_found() {
        let (of, ids) = (framework(), ids());
        let other = FrameworkId::new("m-0001").unwrap();
        let mut messages = Messages::default();
        let said = || word(true, agent(), "e");
        let heard = |n, executor| word(false, n, executor);
        assert!(messages.of_executor(&of, heard(1, "e"), &ids).is_err());
        assert_eq!(messages.of_framework(&of, said(), &ids), Ok(()));
        for (framework, n, executor) in [(&other, 1, "e"), (&of, 2, "e"), (&of, 1, "f")] {
            let heard = messages.of_executor(framework, heard(n, executor), &ids);
            assert_eq!(heard.unwrap_err().0, Property::Messages);
        }
        assert_eq!(messages.of_executor(&of, heard(1, "e"), &ids), Ok(()));
        assert!(messages.of_executor(&of, heard(1, "e"), &ids).is_err());
    }

    // FW-51, FW-63
    #[test]
    fn an_answer_that_comes_twice_or_to_another_is_found() {
        let (of, ids) = (framework(), ids());
        let other = FrameworkId::new("m-0001").unwrap();
        let mut messages = Messages::default();
        let heard = |executor| word(false, agent(), executor);
        let said = || word(true, 1, "e");
        assert!(messages.of_framework(&of, heard("e"), &ids).is_err());
        for _ in 0..2 {
            assert_eq!(messages.of_executor(&of, said(), &ids), Ok(()));
        }
        assert!(messages.of_framework(&other, heard("e"), &ids).is_err());
        assert!(messages.of_framework(&of, heard("f"), &ids).is_err());
        for _ in 0..2 {
            assert_eq!(messages.of_framework(&of, heard("e"), &ids), Ok(()));
        }
        assert!(messages.of_framework(&of, heard("e"), &ids).is_err());
        assert!(messages.to_frameworks.is_empty());
    }
}
