import dev.baton.engine.*;
import dev.baton.model.*;
import dev.baton.tokenizer.*;

void main() throws Exception {
    Path folder = Path.of("models/baton-tiny");
    CausalLm model = ModelLoader.load(folder, LoadOptions.defaults());
    try (Tokenizer tokenizer = Tokenizer.load(folder);
            Engine engine = Engine.start(EngineConfig.builder("baton-tiny", 2048).build(), model)) {
        int[] prompt = tokenizer.encode("Once upon a time", true);
        IncrementalDetokenizer text = tokenizer.detokenizer(true, true);
        engine.generate(prompt, SamplingParams.greedy(40)).forEachToken(token -> IO.print(text.append(token)));
        IO.println(text.finish());
    }
}
