// Elements of the page.

const element = (id) => document.getElementById(id);

/** Makes an element: texts are texts, whatever is in them. */
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  const { className, onclick, ...attributes } = properties;
  if (className) made.className = className;
  if (onclick) made.addEventListener("click", onclick);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Gives a canvas the size in which a pixel is one of the screen. */
function fitCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  return context;
}
