package dev.baton.http;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
    private static final String BODY = "{\"prompt\":\"é\"}";

    @Test
    void bodiesAreUtf8() {
        assertThat(Json.parse(BODY.getBytes(StandardCharsets.UTF_8))
                        .path("prompt")
                        .asString(""))
                .isEqualTo("é");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "UTF-16",
                "UTF-16BE",
                "UTF-16LE",
                "x-UTF-16LE-BOM",
                "UTF-32",
                "UTF-32BE",
                "UTF-32LE",
                "ISO-8859-1"
            })
    void otherEncodingsAreNoJson(String encoding) {
        byte[] body = BODY.getBytes(Charset.forName(encoding));
        assertThatThrownBy(() -> Json.parse(body)).isInstanceOf(Json.MalformedException.class);
    }
}
