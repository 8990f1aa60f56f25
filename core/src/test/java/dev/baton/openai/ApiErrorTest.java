package dev.baton.openai;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class ApiErrorTest {
    @Test
    void jsonIsVllmsForm() {
        ApiError error = ApiError.badParameter("top_p must be in (0, 1], got 2.0.", "top_p", 2.0);
        assertThat(new String(error.toJson(), StandardCharsets.UTF_8))
                .isEqualTo("{\"error\":{\"message\":\"top_p must be in (0, 1], got 2.0. (parameter=top_p, value=2.0)\","
                        + "\"type\":\"BadRequestError\",\"param\":\"top_p\",\"code\":400}}");
        assertThat(new String(ApiError.internal("x").toJson(), StandardCharsets.UTF_8))
                .contains("\"param\":null");
    }

    @Test
    void logprobOfMinusInfinityIsFinite() {
        assertThat(new TokenLogprob("a", new byte[] {97}, Float.NEGATIVE_INFINITY, java.util.List.of()).logprob())
                .isEqualTo(-9999f);
    }
}
