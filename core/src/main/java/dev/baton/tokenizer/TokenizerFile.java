package dev.baton.tokenizer;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/// `tokenizer.json`, changed as `transformers` changes it when it loads a model folder: tokens that only
/// `tokenizer_config.json` names are added, and BOS and EOS are added where the configuration says so.
final class TokenizerFile {
    private final Path path;
    private final ObjectNode root;
    private final Map<String, Integer> modelVocabulary;

    private TokenizerFile(Path path, ObjectNode root, Map<String, Integer> modelVocabulary) {
        this.path = path;
        this.root = root;
        this.modelVocabulary = modelVocabulary;
    }

    static TokenizerFile read(Path modelDirectory, TokenizerConfig config) {
        Path path = modelDirectory.resolve("tokenizer.json");
        if (!Files.exists(path)) {
            throw new TokenizerException(path + " is missing: Baton needs the fast tokenizer's file"
                    + (Files.exists(modelDirectory.resolve("tokenizer.model"))
                            ? "; tokenizer.model alone is not read, transformers' save_pretrained converts it"
                            : ""));
        }
        if (!(TokenizerConfig.readJson(path) instanceof ObjectNode root)) {
            throw new TokenizerException(path + " is not a JSON object");
        }
        TokenizerFile file = new TokenizerFile(path, root, modelVocabulary(path, root.path("model")));
        file.addMissingTokens(config);
        file.replacePostProcessor(config);
        root.putNull("truncation");
        root.putNull("padding");
        return file;
    }

    private static Map<String, Integer> modelVocabulary(Path path, JsonNode model) {
        JsonNode vocabulary = model.path("vocab");
        Map<String, Integer> ids = HashMap.newHashMap(vocabulary.size());
        if (vocabulary.isObject()) {
            vocabulary
                    .properties()
                    .forEach(entry -> ids.put(entry.getKey(), entry.getValue().asInt()));
        } else if (vocabulary.isArray()) {
            for (int id = 0; id < vocabulary.size(); id++) {
                ids.put(vocabulary.get(id).path(0).asString(), id);
            }
        } else {
            throw new TokenizerException(path + ": model.vocab is missing");
        }
        return ids;
    }

    private ArrayNode addedTokens() {
        return root.path("added_tokens") instanceof ArrayNode tokens ? tokens : root.putArray("added_tokens");
    }

    private void addMissingTokens(TokenizerConfig config) {
        Map<String, Integer> known = new HashMap<>();
        for (JsonNode token : addedTokens()) {
            known.put(token.path("content").asString(), token.path("id").asInt());
        }
        config.addedTokens().forEach((id, token) -> add(token.path("content").asString(""), token, known));
        config.specialTokens()
                .values()
                .forEach(text -> add(
                        text,
                        JsonMapper.shared()
                                .createObjectNode()
                                .put("special", true)
                                .put("normalized", false),
                        known));
    }

    private void add(String content, JsonNode options, Map<String, Integer> known) {
        if (content.isEmpty() || known.containsKey(content)) {
            return;
        }
        int id = modelVocabulary.containsKey(content)
                ? modelVocabulary.get(content)
                : Math.max(
                        modelVocabulary.size(),
                        known.values().stream()
                                .mapToInt(highest -> highest + 1)
                                .max()
                                .orElse(0));
        known.put(content, id);
        ObjectNode token = addedTokens().addObject().put("id", id).put("content", content);
        for (String flag : new String[] {"single_word", "lstrip", "rstrip", "special"}) {
            token.put(flag, options.path(flag).asBoolean(false));
        }
        token.put(
                "normalized",
                options.path("normalized").asBoolean(!options.path("special").asBoolean(false)));
    }

    private void replacePostProcessor(TokenizerConfig config) {
        if (config.addBosToken().isEmpty() && config.addEosToken().isEmpty()) {
            return;
        }
        Optional<String> bos = config.addBosToken().filter(add -> add).flatMap(add -> special(config, "bos_token"));
        Optional<String> eos = config.addEosToken().filter(add -> add).flatMap(add -> special(config, "eos_token"));
        ObjectNode processor = root.putObject("post_processor").put("type", "TemplateProcessing");
        ObjectNode tokens = JsonMapper.shared().createObjectNode();
        for (String form : new String[] {"single", "pair"}) {
            ArrayNode pieces = processor.putArray(form);
            String sequences = form.equals("single") ? "A" : "AB";
            for (int type = 0; type < sequences.length(); type++) {
                addPiece(pieces, bos, type);
                pieces.addObject()
                        .putObject("Sequence")
                        .put("id", sequences.substring(type, type + 1))
                        .put("type_id", type);
                addPiece(pieces, eos, type);
            }
        }
        bos.ifPresent(token -> describe(tokens, token));
        eos.ifPresent(token -> describe(tokens, token));
        processor.set("special_tokens", tokens);
    }

    private static Optional<String> special(TokenizerConfig config, String name) {
        return Optional.ofNullable(config.specialTokens().get(name));
    }

    private static void addPiece(ArrayNode pieces, Optional<String> token, int type) {
        token.ifPresent(text ->
                pieces.addObject().putObject("SpecialToken").put("id", text).put("type_id", type));
    }

    private void describe(ObjectNode tokens, String token) {
        ObjectNode described = tokens.putObject(token).put("id", token);
        described.putArray("ids").add(idOf(token));
        described.putArray("tokens").add(token);
    }

    private int idOf(String token) {
        for (JsonNode added : addedTokens()) {
            if (added.path("content").asString().equals(token)) {
                return added.path("id").asInt();
            }
        }
        throw new TokenizerException(path + ": there is no token '" + token + "'");
    }

    Vocabulary vocabulary() {
        Vocabulary.Builder builder = new Vocabulary.Builder();
        modelVocabulary.forEach((text, id) -> builder.add(id, text, false));
        for (JsonNode token : addedTokens()) {
            builder.add(
                    token.path("id").asInt(),
                    token.path("content").asString(),
                    token.path("special").asBoolean(false));
        }
        return builder.build();
    }

    TokenDecoder decoder(Vocabulary vocabulary) {
        try {
            return TokenDecoder.from(root.path("decoder"), vocabulary);
        } catch (TokenizerException e) {
            throw new TokenizerException(path + ": " + e.getMessage(), e);
        }
    }

    /// The file for a native tokenizer that finds special tokens in a text.
    String json() {
        return root.toString();
    }

    /// The added tokens of this file, spelt anew where they are special.
    SpecialSpellings spellings() {
        List<SpecialSpellings.AddedToken> tokens = new ArrayList<>();
        for (JsonNode token : addedTokens()) {
            tokens.add(new SpecialSpellings.AddedToken(
                    token.path("content").asString(),
                    token.path("special").asBoolean(false),
                    token.path("single_word").asBoolean(false)));
        }
        return SpecialSpellings.of(tokens);
    }

    /// The file for a native tokenizer that finds special tokens only where they are spelt anew. So the
    /// spellings that people know are ordinary text to it, as to `transformers` with `split_special_tokens`;
    /// unlike there, also where the model's own merges would build a special token.
    String json(SpecialSpellings spellings) {
        ObjectNode copy = root.objectNode();
        root.properties().forEach(entry -> copy.set(entry.getKey(), entry.getValue()));
        ArrayNode tokens = copy.putArray("added_tokens");
        for (JsonNode token : addedTokens()) {
            String content = token.path("content").asString();
            tokens.add(((ObjectNode) token.deepCopy()).put("content", spellings.spelling(content)));
        }
        if (root.path("model") instanceof ObjectNode model
                && modelVocabulary.keySet().stream().anyMatch(spellings::isSpecial)) {
            copy.set("model", respelt(model.deepCopy(), spellings));
        }
        return copy.toString();
    }

    private static ObjectNode respelt(ObjectNode model, SpecialSpellings spellings) {
        if (model.path("vocab") instanceof ObjectNode vocabulary) {
            ObjectNode respelt = model.putObject("vocab");
            vocabulary.properties().forEach(entry -> respelt.set(spellings.spelling(entry.getKey()), entry.getValue()));
        } else {
            for (JsonNode piece : model.path("vocab")) {
                ((ArrayNode) piece).set(0, spellings.spelling(piece.path(0).asString()));
            }
        }
        if (model.path("merges") instanceof ArrayNode merges) {
            ArrayNode kept = model.putArray("merges");
            merges.forEach(merge -> {
                if (!concernsSpecialToken(merge, spellings)) {
                    kept.add(merge);
                }
            });
        }
        if (model.path("unk_token").isString()) {
            model.put("unk_token", spellings.spelling(model.path("unk_token").asString()));
        }
        return model;
    }

    private static boolean concernsSpecialToken(JsonNode merge, SpecialSpellings spellings) {
        String[] parts = merge.isArray()
                ? new String[] {merge.path(0).asString(), merge.path(1).asString()}
                : merge.asString().split(" ", 2);
        return spellings.isSpecial(parts[0])
                || spellings.isSpecial(parts[parts.length - 1])
                || spellings.isSpecial(String.join("", parts));
    }
}
