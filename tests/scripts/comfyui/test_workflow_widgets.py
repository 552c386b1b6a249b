from typing import Any

from comfyui.workflow_widgets import widget_values

SEED = ["INT", {"default": 0, "control_after_generate": True}]
STEPS = ["INT", {"default": 20}]
SAMPLERS = [["euler", "heun"]]


def info(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"input": {"required": required, "optional": optional or {}}}


def values(stored: Any, node_info: dict[str, Any], **node: Any) -> dict[str, Any]:
    return widget_values({"widgets_values": stored, **node}, node_info)


class TestAfterTheSeed:
    sampler = info({"model": ["MODEL"], "seed": SEED, "steps": STEPS, "sampler_name": SAMPLERS})

    def test_the_extra_value_is_skipped(self):
        found = values([7, "randomize", 30, "heun"], self.sampler)
        assert found == {"seed": 7, "steps": 30, "sampler_name": "heun"}

    def test_an_older_file_may_lack_it(self):
        assert values([7, 30, "heun"], self.sampler)["steps"] == 30

    def test_a_seed_by_name_has_one_too(self):
        plain = info({"noise_seed": ["INT", {}], "steps": STEPS})
        assert values([7, "fixed", 30], plain) == {"noise_seed": 7, "steps": 30}

    def test_unless_it_says_no(self):
        without = info({"seed": ["INT", {"control_after_generate": False}], "mode": [["fixed"]]})
        assert values([7, "fixed"], without) == {"seed": 7, "mode": "fixed"}

    def test_an_integer_of_another_name_has_none(self):
        other = info({"count": ["INT", {}], "mode": [["fixed", "free"]]})
        assert values([7, "fixed"], other) == {"count": 7, "mode": "fixed"}


def test_required_before_optional_in_the_stated_order():
    node = info({"b": STEPS, "a": STEPS}, {"c": STEPS})
    node["input_order"] = {"required": ["a", "b"], "optional": ["c"]}
    assert values([1, 2, 3], node) == {"a": 1, "b": 2, "c": 3}


def test_the_upload_button_stores_a_value():
    load = info({"image": [["a.png"], {"image_upload": True}]}, {"channel": [["red", "green"]]})
    assert values(["a.png", "image", "green"], load) == {"image": "a.png", "channel": "green"}
    assert values(["a.png", "green"], load) == {"image": "a.png", "channel": "green"}


def test_sockets_have_no_value():
    node = info({"model": ["MODEL"], "count": ["INT", {"forceInput": True}], "steps": STEPS})
    assert values([30], node) == {"steps": 30}


def test_a_type_list_may_name_its_widget():
    node = info({"rate": ["FLOAT,INT", {"widgetType": "FLOAT"}]})
    assert values([24.0], node) == {"rate": 24.0}


def test_defaults_where_the_file_is_too_short():
    node = info(
        {
            "steps": STEPS,
            "sampler_name": SAMPLERS,
            "format": ["COMBO", {"options": ["auto", "mp4"]}],
            "text": ["STRING", {}],
            "on": ["BOOLEAN", {}],
        }
    )
    expected = {"steps": 20, "sampler_name": "euler", "format": "auto", "text": "", "on": False}
    assert values([], node) == values(None, node) == expected


def test_values_by_name():
    node = info({"seed": SEED, "steps": STEPS})
    assert values({"steps": 3, "seed": 5, "videopreview": {}}, node) == {"seed": 5, "steps": 3}


class TestDynamicCombo:
    codec = info(
        {
            "mode": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "plain", "inputs": {"required": {}}},
                        {
                            "key": "strong",
                            "inputs": {
                                "required": {"strength": ["FLOAT", {"default": 1.0}]},
                                "optional": {
                                    "curve": [
                                        "COMFY_DYNAMICCOMBO_V3",
                                        {
                                            "options": [
                                                {"key": "line", "inputs": {}},
                                                {
                                                    "key": "bend",
                                                    "inputs": {"required": {"by": STEPS}},
                                                },
                                            ]
                                        },
                                    ]
                                },
                            },
                        },
                    ]
                },
            ],
            "steps": STEPS,
        }
    )

    def test_the_choice_decides_what_follows(self):
        assert values(["plain", 9], self.codec) == {"mode": "plain", "steps": 9}
        found = values(["strong", 0.5, "bend", 4, 9], self.codec)
        assert found == {
            "mode": "strong",
            "mode.strength": 0.5,
            "mode.curve": "bend",
            "mode.curve.by": 4,
            "steps": 9,
        }

    def test_the_first_choice_is_the_default(self):
        assert values([], self.codec) == {"mode": "plain", "steps": 20}


def test_growing_inputs():
    def growing(spec: list[Any]) -> dict[str, Any]:
        template = {"input": {"required": {"value": spec}}, "prefix": "value"}
        return info({"values": ["COMFY_AUTOGROW_V3", {"template": template}], "steps": STEPS})

    slots = [
        {"name": "values.value0", "widget": {"name": "values.value0"}},
        {"name": "values.value1", "widget": {"name": "values.value1"}},
    ]
    assert values([9], growing(["IMAGE", {}]), inputs=slots) == {"steps": 9}
    assert values([1, 2, 9], growing(["INT", {}]), inputs=slots) == {
        "values.value0": 1,
        "values.value1": 2,
        "steps": 9,
    }
