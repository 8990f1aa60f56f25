package dev.baton.openai;

import java.util.Optional;

/// What one chunk of a stream adds to a call of a tool.
///
/// @param index of the call in its choice, from 0
/// @param id in the first part of a call only
/// @param name in the first part of a call only
/// @param arguments more of the JSON text; may be empty in the first part
public record ToolCallDelta(int index, Optional<String> id, Optional<String> name, String arguments) {}
