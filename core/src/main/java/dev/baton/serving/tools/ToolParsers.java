package dev.baton.serving.tools;

import dev.baton.openai.Tool;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/// The formats of tool calls by the names that `--tool-call-parser` takes, which are vLLM's. Adding one is a file with
/// its [ToolParser] and a line here. Thread-safe.
public final class ToolParsers {
    private static final Map<String, ToolFormat> BY_NAME = new TreeMap<>(Map.ofEntries(
            Map.entry("hermes", ToolFormat.withSpecialTokens(tools -> HermesToolParser.create())),
            Map.entry("qwen3_json", ToolFormat.withSpecialTokens(tools -> HermesToolParser.create())),
            Map.entry("granite", ToolFormat.withSpecialTokens(tools -> GraniteToolParser.create())),
            Map.entry("llama3_json", ToolFormat.plain(tools -> new LlamaJsonToolParser())),
            Map.entry("llama4_json", ToolFormat.plain(tools -> new LlamaJsonToolParser())),
            Map.entry("pythonic", ToolFormat.plain(tools -> new PythonicToolParser())),
            Map.entry("mistral", ToolFormat.mistral(tools -> new MistralToolParser())),
            Map.entry("qwen3_coder", ToolFormat.withSpecialTokens(QwenXmlToolParser::new)),
            Map.entry("qwen3_xml", ToolFormat.withSpecialTokens(QwenXmlToolParser::new)),
            Map.entry("deepseek_v3", ToolFormat.withSpecialTokens(tools -> new DeepSeekToolParser(true))),
            Map.entry("deepseek_v31", ToolFormat.withSpecialTokens(tools -> new DeepSeekToolParser(false)))));

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
