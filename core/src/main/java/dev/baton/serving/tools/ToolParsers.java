package dev.baton.serving.tools;

import dev.baton.openai.Tool;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/// The formats of tool calls by the names that `--tool-call-parser` takes, which are vLLM's. Adding one is a
/// file with its [ToolParser] and a line here. Thread-safe.
public final class ToolParsers {
    private static final ToolFormat HERMES = ToolFormat.of(tools -> HermesToolParser.create())
            .with(HermesToolParser::tags)
            .keepingSpecialTokens();
    private static final ToolFormat LLAMA =
            ToolFormat.of(tools -> new LlamaJsonToolParser()).with(LlamaJsonToolParser::tags);
    private static final ToolFormat QWEN_XML =
            ToolFormat.of(QwenXmlToolParser::new).keepingSpecialTokens();

    private static final Map<String, ToolFormat> BY_NAME = new TreeMap<>(Map.ofEntries(
            Map.entry("deepseek_v3", deepSeek(true)),
            Map.entry("deepseek_v31", deepSeek(false)),
            Map.entry(
                    "granite",
                    ToolFormat.of(tools -> GraniteToolParser.create()).keepingSpecialTokens()),
            Map.entry("hermes", HERMES),
            Map.entry("llama3_json", LLAMA),
            Map.entry("llama4_json", LLAMA),
            Map.entry(
                    "mistral",
                    ToolFormat.of(tools -> new MistralToolParser())
                            .with(ToolCallIds.MISTRAL)
                            .keepingSpecialTokens()),
            Map.entry("pythonic", ToolFormat.of(tools -> new PythonicToolParser())),
            Map.entry("qwen3_coder", QWEN_XML),
            Map.entry("qwen3_json", HERMES),
            Map.entry("qwen3_xml", QWEN_XML)));

    private static ToolFormat deepSeek(boolean fenced) {
        return ToolFormat.of(tools -> new DeepSeekToolParser(fenced))
                .with(tool -> DeepSeekToolParser.tags(tool, fenced))
                .keepingSpecialTokens();
    }

    private ToolParsers() {}

    /// The names, sorted.
    public static List<String> names() {
        return List.copyOf(BY_NAME.keySet());
    }

    /// The format of a name, if there is one.
    public static Optional<ToolFormat> find(String name) {
        return Optional.ofNullable(BY_NAME.get(name));
    }

    /// The parser for an output that a grammar makes the arguments of one function.
    public static ToolParser forced(Tool tool) {
        return new ForcedCallParser(tool.name());
    }

    /// The parser for an output that a grammar makes an array of `{"name": ..., "parameters": ...}`.
    public static ToolParser required() {
        return MarkedJsonCalls.unmarked(JsonCallsReader.Shape.ARRAY);
    }
}
