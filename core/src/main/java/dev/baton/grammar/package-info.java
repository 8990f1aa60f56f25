/// What a structured output may look like: JSON schemas, regular expressions, choices and grammars, as masks over
/// the tokens of a model. Knows no model, no engine and no HTTP.
///
/// Every source becomes the same thing, rules over bytes ([dev.baton.grammar.Automaton]); where a text stands in
/// them is a [dev.baton.grammar.Node] and a stack of such; which tokens may follow is a walk over the
/// vocabulary's prefix tree, remembered per node.
///
/// May depend on: no other room.
@NullMarked
package dev.baton.grammar;

import org.jspecify.annotations.NullMarked;
