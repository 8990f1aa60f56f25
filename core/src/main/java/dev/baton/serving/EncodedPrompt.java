package dev.baton.serving;

/// One prompt as the engine takes it.
///
/// @param ids at least one token; not to be changed
/// @param text the text that is repeated before the output if the request asks for it (`echo`), else empty
record EncodedPrompt(int[] ids, String text) {
    int length() {
        return ids.length;
    }
}
