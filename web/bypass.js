/**
 * What a bypassed node (Ctrl-B) of this pack hands on: each output the input of its own name and
 * type, or nothing.
 *
 * The page pairs outputs with inputs by their types alone, in order, so that `image_only` would get
 * the positive conditioning. While a prompt is made, the slots of our bypassed nodes therefore
 * carry types that fit in no other way.
 */
import { app } from "../../scripts/app.js";

const BYPASSED = 4;
const PACK = "custom_nodes." + decodeURIComponent(new URL(import.meta.url).pathname).split("/").at(-2);

/** The types that slots have outside of prompts, for each node that carries others. */
const types = new Map();
let prompts = 0;

function pairUp(node) {
  types.set(node, [...node.inputs, ...node.outputs].map((slot) => [slot, slot.type]));
  const pairs = node.outputs.map(({ name, type }) => ({ name, type }));
  const place = ({ name, type }) => pairs.findIndex((o) => o.name === name && o.type === type);
  // With the old type beside the new one, an input still fits the node that asks for it.
  for (const input of node.inputs) input.type = `DC_BYPASS_${place(input)},${input.type}`;
  for (const [index, output] of node.outputs.entries()) output.type = `DC_BYPASS_${index}`;
}

function restore() {
  for (const slots of types.values()) for (const [slot, type] of slots) slot.type = type;
  types.clear();
}

app.registerExtension({
  name: "DynamiCrafter.Bypass",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.python_module !== PACK) return;
    const { onSerialize } = nodeType.prototype;
    // A prompt begins with the workflow that it is made of; that keeps the types as they are.
    nodeType.prototype.onSerialize = function (saved) {
      onSerialize?.call(this, saved);
      const known = new Map(types.get(this));
      for (const kind of ["inputs", "outputs"])
        saved[kind]?.forEach((slot, i) => (slot.type = known.get(this[kind][i]) ?? slot.type));
      if (prompts && this.mode === BYPASSED && !types.has(this)) pairUp(this);
    };
  },

  setup() {
    const { graphToPrompt } = app;
    app.graphToPrompt = async function (...args) {
      prompts += 1;
      try {
        return await graphToPrompt.apply(this, args);
      } finally {
        prompts -= 1;
        if (!prompts) restore();
      }
    };
  },
});
