"use strict";

const drop = document.getElementById("drop");
const choose = document.getElementById("choose");
const status = document.getElementById("status");
const results = document.getElementById("results");
const card = document.getElementById("card");

const DECISIONS = {
  auto: "tag make and model",
  make: "tag the make only",
  review: "a person should look",
};

const CROPS = {
  box: "cropped by its labelled box",
  detector: "cropped by the detector",
  grabcut: "cropped by colour (GrabCut)",
  none: "on the whole photo",
};

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function show(file, answer) {
  const view = card.content.cloneNode(true);
  const photo = view.querySelector(".photo");
  photo.src = URL.createObjectURL(file);
  photo.alt = file.name;
  photo.addEventListener("load", () => URL.revokeObjectURL(photo.src));
  view.querySelector(".name").textContent = file.name;
  const decision = view.querySelector(".decision");
  const overlay = view.querySelector(".overlay");
  if (answer.error) {
    view.querySelector("h2").textContent = "This photo cannot be used";
    decision.textContent = `${answer.error.reason}: ${answer.error.detail}`;
    decision.classList.add("error");
    overlay.parentElement.remove();
    // What this browser cannot show either would leave a broken picture.
    photo.addEventListener("error", () => photo.parentElement.remove());
  } else {
    view.querySelector("h2").textContent = answer.label;
    decision.textContent = DECISIONS[answer.decision];
    decision.classList.add(answer.decision);
    view.querySelector(".crop").textContent = CROPS[answer.crop];
    overlay.src = answer.overlay;
    overlay.alt = "The photo, with the places that spoke for this model in warm colours";
    const bars = view.querySelector(".bars");
    for (const candidate of answer.top) {
      const line = document.createElement("li");
      const name = document.createElement("span");
      const share = document.createElement("span");
      const bar = document.createElement("progress");
      name.textContent = `${candidate.label} (${candidate.make})`;
      share.textContent = percent(candidate.confidence);
      bar.max = 1;
      bar.value = candidate.confidence;
      line.append(name, share, bar);
      bars.append(line);
    }
  }
  results.prepend(view);
}

async function send(files) {
  if (!files.length) {
    return;
  }
  const form = new FormData();
  for (const file of files) {
    form.append("photo", file, file.name);
  }
  status.textContent = "Looking …";
  try {
    const response = await fetch("api/predict", { method: "POST", body: form });
    const answer = await response.json();
    if (answer.photos) {
      answer.photos.forEach((photo, index) => show(files[index], photo));
      status.textContent = "";
    } else {
      status.textContent = `Refused: ${answer.error.detail}`;
    }
  } catch {
    status.textContent = "The server cannot be reached. Is it still running?";
  }
  choose.value = "";
}

choose.addEventListener("change", () => send([...choose.files]));
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  send([...event.dataTransfer.files]);
});
