package dev.baton.serving;

/// One prompt as the engine takes it.
///
/// @param ids at least one token; not to be changed
/// @param echo the text that is repeated before the output; empty unless the request asks for it
/// @param echoLogprobs whether the log-probabilities of the prompt's tokens are repeated with it
record EncodedPrompt(int[] ids, String echo, boolean echoLogprobs) {
    int length() {
        return ids.length;
    }
}
