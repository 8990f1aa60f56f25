package dev.baton.grammar;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.networknt.schema.InputFormat;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class JsonSchemaTest {
    private static final SchemaRegistry VALIDATORS =
            SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12);

    private static SchemaCase schema(String schema, List<String> valid, List<String> invalid) {
        return new SchemaCase(schema.replace('\'', '"'), quoted(valid), quoted(invalid));
    }

    private static List<String> quoted(List<String> documents) {
        return documents.stream().map(text -> text.replace('\'', '"')).toList();
    }

    static Stream<SchemaCase> cases() {
        return Stream.of(
                schema(
                        "{'type':'object'}",
                        List.of("{}", "{ }", "{'a':1}", "{\n  'a' : [1, {'b':null}]\n}", "{'é\\u00e9':''}"),
                        List.of(
                                "",
                                "[]",
                                " {}",
                                "{} ",
                                "{'a'}",
                                "{'a':}",
                                "{,}",
                                "{'a':1,}",
                                "{'a':01}",
                                "{'a':'\\x'}",
                                "{'a':'\\ud800'}",
                                "{'a':'\u0001'}")),
                schema(
                        "{'type':'object','properties':{'a':{'type':'integer'},'b':{'type':'string'}},'required':['b']}",
                        List.of("{'b':''}", "{'a':1,'b':'x'}", "{'a': -12, 'b': 'x y' }"),
                        List.of("{}", "{'a':1}", "{'b':'','a':1}", "{'b':'','c':1}", "{'a':1.5,'b':''}", "{'b':1}")),
                schema(
                        "{'type':'object','properties':{'a':{'type':'integer'}},'additionalProperties':{'type':'boolean'}}",
                        List.of("{}", "{'a':1}", "{'b':true}", "{'a':1,'aa':false,'':true}", "{'a':1,'\\n':false}"),
                        List.of("{'b':1}", "{'a':true}", "{'a':1,'a':true}", "{'\\u0061':true}")),
                schema(
                        "{'type':'object','properties':{'a':{},'b':{},'c':{},'d':{}},'minProperties':2,'maxProperties':3}",
                        List.of("{'a':1,'d':null}", "{'b':[],'c':{},'d':'x'}"),
                        List.of("{}", "{'a':1}", "{'a':1,'b':1,'c':1,'d':1}")),
                schema(
                        "{'type':'object','additionalProperties':{'type':'null'},'minProperties':1,'maxProperties':2}",
                        List.of("{'x':null}", "{'x':null,'y':null}"),
                        List.of("{}", "{'x':null,'y':null,'z':null}")),
                schema(
                        "{'type':'object','patternProperties':{'^x[0-9]+$':{'type':'integer'}},'additionalProperties':false}",
                        List.of("{}", "{'x1':1}", "{'x1':1,'x22':2}"),
                        List.of("{'y':1}", "{'x':1}", "{'x1':'1'}")),
                schema(
                        "{'type':'object','propertyNames':{'enum':['k','l']},'additionalProperties':{'type':'integer'}}",
                        List.of("{}", "{'k':1,'l':2}"),
                        List.of("{'m':1}")),
                schema("{'type':'array'}", List.of("[]", "[ 1 , 'a', [] ]"), List.of("[1,]", "[,1]", "{}", "[1 2]")),
                schema(
                        "{'type':'array','items':{'type':'integer'},'minItems':2,'maxItems':4}",
                        List.of("[1,2]", "[1,2,3,4]"),
                        List.of("[]", "[1]", "[1,2,3,4,5]", "['a','b']")),
                schema(
                        "{'type':'array','items':{'type':'boolean'},'minItems':30,'maxItems':40}",
                        List.of("[" + "true,".repeat(34) + "false]"),
                        List.of("[" + "true,".repeat(40) + "false]", "[true]")),
                schema(
                        "{'type':'array','prefixItems':[{'type':'integer'},{'type':'string'}],'items':{'type':'null'},'minItems':1,'maxItems':4}",
                        List.of("[1]", "[1,'a']", "[1,'a',null,null]"),
                        List.of("[]", "['a']", "[1,2]", "[1,'a',null,null,null]")),
                schema(
                        "{'type':'array','prefixItems':[{'type':'integer'}],'items':false}",
                        List.of("[]", "[1]"),
                        List.of("[1,2]")),
                schema(
                        "{'type':'string'}",
                        List.of("''", "'a\\\\b\\n\\u00E9\\ud83d\\ude00é😀\u007f'"),
                        List.of("a", "'\\ud83d'", "'\\ude00'", "'\n'", "'a", "'\\a'")),
                schema(
                        "{'type':'string','minLength':2,'maxLength':3}",
                        List.of("'ab'", "'abc'", "'éé'", "'😀😀😀'", "'\\ud83d\\ude00a'", "'\\n\\n'"),
                        List.of("''", "'a'", "'abcd'", "'\\ud83d\\ude00'")),
                schema(
                        "{'type':'string','minLength':40,'maxLength':60}",
                        List.of("'" + "é".repeat(50) + "'"),
                        List.of("'" + "é".repeat(39) + "'", "'" + "é".repeat(61) + "'")),
                schema(
                        "{'type':'string','minLength':200}",
                        List.of("'" + "ab".repeat(150) + "'"),
                        List.of("'" + "a".repeat(199) + "'")),
                schema(
                        "{'type':'string','pattern':'^[a-z]{2,}(-[0-9]+)?$'}",
                        List.of("'ab'", "'abc-1'"),
                        List.of("'a'", "'ab-'", "'AB'")),
                schema(
                        "{'type':'string','pattern':'^[^x]+$','maxLength':3}",
                        List.of("'abc'", "'\\n\\'\\\\'", "'é'"),
                        List.of("''", "'ax'", "'abcd'")),
                schema(
                        "{'type':'integer','minimum':-17,'exclusiveMaximum':250}",
                        List.of("-17", "0", "9", "100", "249"),
                        List.of("-18", "250", "1.5", "1000", "01")),
                schema(
                        "{'type':'number','exclusiveMinimum':0.125,'maximum':12.5}",
                        List.of("0.1251", "1", "12.5", "12.50", "9.99"),
                        List.of("0.125", "0.1250", "0", "12.51", "-1", "13")),
                schema(
                        "{'type':'number'}",
                        List.of("0", "-0.5", "1e10", "1.25E-3"),
                        List.of(".5", "1.", "00", "+1", "NaN")),
                schema(
                        "{'enum':['a b','c\\'d',1,2.5,null,true,[1,{'x':'y'}]]}",
                        List.of("'a b'", "'c\\'d'", "1", "2.5", "null", "true", "[1,{'x':'y'}]", "[ 1, { 'x': 'y' } ]"),
                        List.of("'a'", "2", "false", "[1]")),
                schema("{'const':{'k':'v'}}", List.of("{'k':'v'}"), List.of("{}", "{'k':'w'}")),
                schema("{'type':['string','null','integer']}", List.of("'x'", "null", "7"), List.of("true", "1.5")),
                schema(
                        "{'anyOf':[{'type':'object','properties':{'a':{'type':'string'}},'required':['a']},{'type':'object','properties':{'a':{'type':'integer'},'b':{}},'required':['a','b']}]}",
                        List.of("{'a':'x'}", "{'a':1,'b':null}"),
                        List.of("{'a':1}", "{'a':'x','b':1}")),
                schema(
                        "{'oneOf':[{'type':'integer'},{'type':'string','maxLength':2}]}",
                        List.of("1", "'ab'"),
                        List.of("'abc'", "null")),
                schema(
                        "{'type':'object','properties':{'k':{'type':'string'}},'anyOf':[{'required':['k']},{'properties':{'l':{'type':'integer'}},'required':['l']}]}",
                        List.of("{'k':'x'}", "{'k':'x','l':1}", "{'l':1}"),
                        List.of("{}", "{'l':'x'}")),
                schema(
                        "{'allOf':[{'type':'object','properties':{'a':{'type':'integer','minimum':3}}},{'properties':{'a':{'maximum':5},'b':{'type':'null'}},'required':['a']}]}",
                        List.of("{'a':3}", "{'a':5,'b':null}"),
                        List.of("{}", "{'a':6}", "{'a':2}")),
                schema(
                        "{'$ref':'#/$defs/node','$defs':{'node':{'type':'object','properties':{'v':{'type':'integer'},'next':{'anyOf':[{'$ref':'#/$defs/node'},{'type':'null'}]}},'required':['v','next'],'additionalProperties':false}}}",
                        List.of("{'v':1,'next':null}", "{'v':1,'next':{'v':2,'next':{'v':3,'next':null}}}"),
                        List.of("{'v':1}", "{'v':1,'next':{}}")),
                schema("{'type':'array','items':{'$ref':'#'}}", List.of("[]", "[[],[[[]]]]"), List.of("[1]", "[[]")),
                schema(
                        "{'definitions':{'a/b':{'type':'integer'}},'items':{'$ref':'#/definitions/a~1b'},'type':'array'}",
                        List.of("[1,2]"),
                        List.of("['a']")),
                schema("true", List.of("1", "{'a':[]}"), List.of("", "tru")),
                schema("{}", List.of("null", "[{}]"), List.of("nul")),
                schema(
                        "{'type':'array','minItems':1,'items':{'anyOf':[{'type':'object','properties':{'name':{'type':'string','enum':['f']},'parameters':{'type':'object','properties':{'x':{'type':'number'}},'required':['x']}},'required':['name','parameters']},{'type':'object','properties':{'name':{'type':'string','enum':['g']},'parameters':{'type':'object'}},'required':['name','parameters']}]}}",
                        List.of(
                                "[{'name':'f','parameters':{'x':1}}]",
                                "[{'name': 'g', 'parameters': {}}, {'name':'f','parameters':{'x':-1.5e3}}]"),
                        List.of("[]", "[{'name':'h','parameters':{}}]", "[{'name':'f','parameters':{}}]")));
    }

    static Stream<String> formats() {
        return Stream.of(
                "date",
                "time",
                "date-time",
                "duration",
                "email",
                "hostname",
                "ipv4",
                "ipv6",
                "uuid",
                "uri",
                "uri-reference",
                "json-pointer",
                "relative-json-pointer");
    }

    private static List<com.networknt.schema.Error> errors(String schema, String document) {
        Schema validator = VALIDATORS.getSchema(schema);
        return validator.validate(
                document,
                InputFormat.JSON,
                context -> context.executionConfig(config -> config.formatAssertionsEnabled(true)));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void validDocumentsAreAcceptedAndOthersRefused(SchemaCase given) {
        Grammar grammar = Grammar.jsonSchema(given.schema());
        for (String document : given.valid()) {
            assertThat(errors(given.schema(), document)).as(document).isEmpty();
            assertThat(Walks.accepts(grammar, document)).as(document).isTrue();
        }
        for (String document : given.invalid()) {
            assertThat(Walks.accepts(grammar, document)).as(document).isFalse();
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void everyTextUnderTheMaskSatisfiesTheSchema(SchemaCase given) {
        Grammar grammar = Grammar.jsonSchema(given.schema());
        int ended = 0;
        for (int seed = 0; seed < 40; seed++) {
            TokenVocabulary vocabulary = seed % 4 == 0 ? Vocabularies.bytes() : Vocabularies.pieces(seed % 4);
            Random random = new Random(seed);
            Optional<String> text = Walks.random(new GrammarCompiler(vocabulary).matcher(grammar), vocabulary, random);
            if (text.isPresent()) {
                ended++;
                assertThat(errors(given.schema(), text.get())).as(text.get()).isEmpty();
            }
        }
        assertThat(ended).isGreaterThan(30);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void everySplitOfAValidDocumentIntoTokensIsAllowed(SchemaCase given) {
        Grammar grammar = Grammar.jsonSchema(given.schema());
        for (int seed = 0; seed < 4; seed++) {
            TokenVocabulary vocabulary = Vocabularies.pieces(seed);
            GrammarCompiler compiler = new GrammarCompiler(vocabulary);
            Random random = new Random(seed);
            for (String document : given.valid()) {
                Walks.assertAllowsSomeTokens(compiler.matcher(grammar), vocabulary, document, random);
            }
        }
    }

    @ParameterizedTest
    @MethodSource("formats")
    void textsOfAFormatSatisfyIt(String format) {
        String schema = "{\"type\":\"string\",\"format\":\"" + format + "\"}";
        Grammar grammar = Grammar.jsonSchema(schema);
        int ended = 0;
        for (int seed = 0; seed < 60; seed++) {
            TokenVocabulary vocabulary = Vocabularies.pieces(seed % 5);
            Optional<String> text =
                    Walks.random(new GrammarCompiler(vocabulary).matcher(grammar), vocabulary, new Random(seed));
            if (text.isPresent() && text.get().length() < 600) { // the validator overflows its stack on longer ones
                ended++;
                assertThat(errors(schema, judged(format, text.get())))
                        .as(text.get())
                        .isEmpty();
            }
        }
        assertThat(ended).isGreaterThan(20);
    }

    /// The validator knows the top-level domains of the day and takes '#' for no part of a JSON pointer, which RFC
    /// 6901 does.
    private static String judged(String format, String text) {
        return switch (format) {
            case "email" -> text.replaceFirst("\\.[A-Za-z]{2,15}\"$", ".org\"");
            case "json-pointer", "relative-json-pointer" ->
                text.contains("/") ? text.replace('#', '_') : text; // "0#" is the key itself
            default -> text;
        };
    }

    @ParameterizedTest
    @CsvSource({
        "date,2024-02-29",
        "date,1999-12-31",
        "time,23:59:59.123Z",
        "date-time,2024-01-01T00:00:00+01:00",
        "duration,P1Y2M3DT4H5M6S",
        "duration,P3W",
        "email,ada.l@mail.example.org",
        "hostname,a.b.c.example.com",
        "ipv4,192.168.0.255",
        "ipv6,2001:db8::1",
        "ipv6,::",
        "ipv6,1:2:3:4:5:6:7:8",
        "ipv6,::ffff:10.0.0.1",
        "uuid,123e4567-e89b-12d3-a456-426614174000",
        "uri,https://u@example.com:8080/a/b%20c?q=1&r=/#f",
        "uri,urn:a:b",
        "uri-reference,../a?b",
        "json-pointer,/a~1b/0",
        "relative-json-pointer,1/a"
    })
    void usualTextsOfAFormatAreAccepted(String format, String text) {
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"string\",\"format\":\"" + format + "\"}");
        assertThat(Walks.accepts(grammar, '"' + text + '"')).isTrue();
    }

    @ParameterizedTest
    @CsvSource({"date,2023-02-29", "date,2024-13-01", "time,24:00:00Z", "ipv4,256.1.1.1", "ipv6,1::2::3", "uuid,123"})
    void othersAreNot(String format, String text) {
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"string\",\"format\":\"" + format + "\"}");
        assertThat(Walks.accepts(grammar, '"' + text + '"')).isFalse();
    }

    static Stream<Arguments> refused() {
        return Stream.of(
                Arguments.of("{", "the JSON schema is not JSON"),
                Arguments.of("3", "needs an object, true or false at #"),
                Arguments.of("false", "matches no text"),
                Arguments.of("{'type':'nothing'}", "type 'nothing' at #"),
                Arguments.of("{'type':'integer','multipleOf':3}", "multipleOf at #"),
                Arguments.of("{'type':'array','uniqueItems':true}", "uniqueItems at #"),
                Arguments.of("{'type':'array','contains':{}}", "contains at #"),
                Arguments.of("{'properties':{'a':{'not':{}}}}", "not at #/properties/a"),
                Arguments.of("{'if':{},'then':{}}", "if at #"),
                Arguments.of("{'dependentRequired':{}}", "dependentRequired at #"),
                Arguments.of("{'type':'string','format':'colour'}", "format 'colour' at #"),
                Arguments.of("{'type':'string','pattern':'(?=a)b'}", "look-around"),
                Arguments.of("{'type':'string','pattern':'['}", "'['"),
                Arguments.of("{'type':'string','pattern':'a','format':'date'}", "pattern together with format"),
                Arguments.of("{'$ref':'https://example.org/s'}", "$ref 'https://example.org/s'"),
                Arguments.of("{'$ref':'#/$defs/missing'}", "leads nowhere"),
                Arguments.of("{'$ref':'#'}", "matches no text"),
                Arguments.of("{'allOf':[{'$ref':'#'}]}", "lead to each other"),
                Arguments.of("{'type':'array','minItems':-1}", "minItems at #"),
                Arguments.of("{'type':'string','maxLength':'x'}", "maxLength at #"),
                Arguments.of("{'enum':[]}", "matches no text"),
                Arguments.of("{'type':'integer','minimum':3,'maximum':2}", "matches no text"),
                Arguments.of("{'type':'integer','minimum':0.1,'maximum':0.9}", "matches no text"),
                Arguments.of(
                        "{'type':'object','required':['a'],'additionalProperties':false}", "requires the property 'a'"),
                Arguments.of("{'enum':['a'],'pattern':'b'}", "enum or const together with pattern"),
                Arguments.of("{'anyOf':[]}", "anyOf at #"),
                Arguments.of("{'properties':[]}", "properties at #"),
                Arguments.of("{'a':1,'a':2}", "not JSON"));
    }

    @ParameterizedTest
    @MethodSource("refused")
    void whatIsNotBuiltIsRefusedByName(String schema, String message) {
        assertThatThrownBy(() -> Grammar.jsonSchema(schema.replace('\'', '"')))
                .isInstanceOf(GrammarException.class)
                .hasMessageContaining(message);
    }

    @ParameterizedTest
    @ValueSource(strings = {"title", "description", "default", "examples", "$schema", "$id", "$comment", "x-order"})
    void annotationsAndUnknownWordsAreIgnored(String word) {
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"integer\",\"" + word + "\":\"?\"}");
        assertThat(Walks.accepts(grammar, "1")).isTrue();
        assertThat(Walks.accepts(grammar, "\"\"")).isFalse();
    }

    @Test
    void whitespaceIsBounded() {
        Grammar grammar = Grammar.jsonSchema("{\"type\":\"array\"}", new JsonSchemaOptions(3));
        assertThat(Walks.accepts(grammar, "[ \n ]")).isTrue();
        assertThat(Walks.accepts(grammar, "[ \n  ]")).isFalse();
        assertThat(Walks.accepts(Grammar.jsonSchema("{\"type\":\"array\"}", JsonSchemaOptions.compact()), "[ ]"))
                .isFalse();
    }

    @Test
    void nothingFollowsTheEndOfAnObject() {
        TokenVocabulary vocabulary = Vocabularies.bytes();
        GrammarMatcher matcher = new GrammarCompiler(vocabulary).matcher(Grammar.jsonObject());
        assertThat(matcher.accept("{\"a\":1".getBytes(java.nio.charset.StandardCharsets.UTF_8)))
                .isTrue();
        assertThat(matcher.isTerminated()).isFalse();
        assertThat(matcher.accept('}')).isTrue();
        assertThat(matcher.isTerminated()).isTrue();
        long[] mask = new long[vocabulary.maskWords()];
        assertThat(matcher.fillMask(mask)).isTrue();
        assertThat(java.util.BitSet.valueOf(mask).stream().boxed()).containsExactly(257);
    }
}
