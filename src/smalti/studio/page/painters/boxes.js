export const boxes = () => ({ element: document.createElement('div'), value: () => null, fill: () => {} });
