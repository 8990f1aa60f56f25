/// The OpenAI API as vLLM speaks it: requests with their defaults and error messages, responses and stream
/// chunks with their exact fields, errors, and server-sent events in both directions.
///
/// May depend on: no other room.
@NullMarked
package dev.baton.openai;

import org.jspecify.annotations.NullMarked;
