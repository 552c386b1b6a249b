"""A ComfyUI to run: installed, started, talked to; and workflow files turned into prompts."""
